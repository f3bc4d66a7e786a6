// Going on with the edit whose pictures the gallery shows. Each of these is given values of the
// page's components and gives back others; what they set is put back once Generate was pressed.
const msbd_kept = {before: null};

// What the host says of the shown pictures, and which of them is looked at.
function msbd_shown(text) {
    let info = {};
    try { info = JSON.parse(text); } catch { /* nothing was made yet */ }
    const index = Math.max(selected_gallery_index(), 0);
    const words = (info.infotexts || [])[index] || "";
    const edits = info.msbd || [];
    const edit = edits.find((one) => one.pictures.includes(index)) || edits[0];
    const picked = words.match(/MSBD picture: (?:part (\d+) )?candidate (\d+)/);
    const nothing = !info.infotexts?.length;
    return {edit, nothing, part: picked?.[1], number: picked?.[2]};
}

// The edit's id, for what is done without Generate.
function msbd_edit_id(text) {
    return [msbd_shown(text).edit?.edit_id || ""];
}

// values: what the page has of candidate, candidates, candidates_only, edit_id, continue_from.
function msbd_goes_on(text, values, changes) {
    if (msbd_kept.before) return values;  // it was pressed twice
    const {edit, nothing, part, number} = msbd_shown(text);
    const [candidate, candidates, , typed, first] = values;
    // After a crash nothing is shown, but the last edit is kept.
    const id = typed || edit?.edit_id || (nothing ? "last" : "");
    if (!id) {
        alert("What is shown was not kept, and cannot be gone on with: see Keep edits in Settings.");
        return values;
    }
    msbd_kept.before = values;
    setTimeout(msbd_generates, 50, id);
    const picked = number && candidate === "best" ? (part ? `${part}:${number}` : number) : candidate;
    return changes({id, picked, candidates, first, edit});
}

function msbd_continue(text, ...given) {
    return msbd_goes_on(text, given.slice(0, 5), ({id, picked, candidates}) =>
        [picked, candidates, false, id, 0]);
}

function msbd_more(text, ...given) {
    return msbd_goes_on(text, given.slice(0, 5), ({id, candidates, edit}) => {
        const made = Math.max(...(edit?.parts || []).map((part) => part.scores?.length || 1), 1);
        return ["best", Math.min(Math.max(made, candidates) + 3, 16), true, id, 0];
    });
}

function msbd_redo(text, ...given) {
    return msbd_goes_on(text, given.slice(0, 5), ({id, candidates, first, edit}) => {
        const parts = (edit?.stages || []).map((stage) => stage.part);
        const last = Math.max(1, ...parts.map((part) => parts.filter((one) => one === part).length));
        return [given[0], candidates, false, id, first || last];
    });
}

// Press Generate when the page has what was just set, and then have it put back.
function msbd_generates(id, patience = 100) {
    const field = gradioApp().querySelector("#script_multistage_blended_diffusion_edit_id textarea");
    if (field.value !== id && patience > 0) {
        setTimeout(msbd_generates, 50, id, patience - 1);
        return;
    }
    if (field.value === id) gradioApp().getElementById("img2img_generate").click();
    const put_back = "script_multistage_blended_diffusion_put_back";
    setTimeout(() => gradioApp().getElementById(put_back).click(), 300);
}

function msbd_puts_back() {
    const [candidate, candidates, only] = msbd_kept.before;
    msbd_kept.before = null;
    return [candidate, candidates, only, "", 0];
}
