// What a dry run shows stands in a column of its own: closed, "planning", "shown", or "old", which
// is when something has been changed since.
const msbd_dry_run = {options: ""};

function msbd_dry_run_result() {
    return gradioApp().querySelector(".msbd-dry-run-result");
}

// The options that a plan depends on; the checkpoint is one of them.
function msbd_plan_options() {
    const ours = (name) => name === "sd_model_checkpoint" || name.startsWith("msbd_");
    return JSON.stringify(Object.entries(opts).filter(([name]) => ours(name)));
}

function msbd_dry_run_begins() {
    msbd_dry_run.options = msbd_plan_options();
    msbd_dry_run_result().dataset.state = "planning";
    return [];
}

function msbd_dry_run_ends() {
    const result = msbd_dry_run_result();
    if (result.dataset.state === "planning") result.dataset.state = "shown";
    return [];
}

function msbd_dry_run_closes() {
    delete msbd_dry_run_result().dataset.state;
    return [];
}

function msbd_dry_run_is_old() {
    const result = msbd_dry_run_result();
    if (result?.dataset.state) result.dataset.state = "old";
    return [];
}

// Arguments of the dry run: which mode of the img2img tab is shown is known to the browser only.
// `places` names the inputs of each mode: those of the other modes are left out, as pictures may be
// large. So are the Batch tab's folders while its uploads are chosen: the host has no masks for those.
function msbd_dry_run_arguments(places, ...values) {
    const outputs = 2;
    const mode = get_tab_index("mode_img2img");
    const uploads = gradioApp().getElementById("img2img_batch_upload")?.offsetParent;
    const kept = uploads ? [] : places[mode] || [];
    const inputs = values.slice(0, -outputs);
    inputs[0] = mode;
    for (const place of Object.values(places).flat()) {
        if (!kept.includes(place)) inputs[place] = null;
    }
    return inputs;
}

onOptionsChanged(function() {
    if (msbd_dry_run.options !== msbd_plan_options()) msbd_dry_run_is_old();
});

// A click on the drawing shows it at its full size, another one or Escape puts it away.
onUiLoaded(function() {
    msbd_dry_run_result()?.addEventListener("click", function(event) {
        if (!event.target.matches(".msbd-dry-run-picture img")) return;
        const large = document.createElement("dialog");
        large.className = "msbd-large";
        large.append(event.target.cloneNode());
        large.onclick = large.onclose = () => large.remove();
        document.body.append(large);
        large.showModal();
    });
});

// Arguments of the check: a task of the host's, so that its progress bar shows above the text.
function msbd_check_arguments(_task, presets, upscaler) {
    const task = randomId();
    requestProgress(task, gradioApp().getElementById("setting_msbd_check"), null, () => {});
    return [task, presets, upscaler];
}
