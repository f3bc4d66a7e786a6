// While the script is chosen in the img2img tab, the WebUI's own controls that have no effect with it
// are greyed out, with the reason as tooltip. Which they are is said by an unseen element among the
// script's controls, see msbd/webui/without_effect.py.
//
// A greyed control is inert: its value, its state and whatever it listens to stay as they are, pasted
// values arrive, and nothing but the attribute has to be taken back.

const msbd_greyed = new Map(); // element -> its own tooltip, and those of its parts made inert
let msbd_watched_scripts = null;

// The script's controls are shown by the WebUI if and only if it is chosen. The tab itself may be
// hidden meanwhile.
function msbd_is_chosen(table) {
    for (let node = table; node && node.id !== "img2img_script_container"; node = node.parentElement) {
        const hidden = getComputedStyle(node).display === "none";
        if (hidden && !node.classList.contains("msbd-unseen")) return false;
    }
    return true;
}

// What the first stage starts from: the control's choice, which in Inpaint sketch is the paint unless
// another is made.
function msbd_start() {
    const chosen = msbd_watched_scripts?.querySelector("[id$='_diffusion_start'] input:checked");
    const start = chosen ? chosen.value : "automatic";
    const sketching = get_tab_index("mode_img2img") === 3;
    return start !== "automatic" ? start : sketching ? "paint" : "new";
}

function msbd_grey(element, tooltip) {
    if (!msbd_greyed.has(element)) {
        msbd_greyed.set(element, {title: element.getAttribute("title"), inert: new Set()});
    }
    // The element itself stays in reach of the mouse, for its tooltip.
    for (const part of element.children) {
        if (part.inert) continue;
        part.inert = true;
        msbd_greyed.get(element).inert.add(part);
    }
    element.classList.add("msbd-greyed");
    element.title = tooltip;
}

function msbd_ungrey(element) {
    const before = msbd_greyed.get(element);
    msbd_greyed.delete(element);
    for (const part of before.inert) part.inert = false;
    element.classList.remove("msbd-greyed");
    if (before.title === null) element.removeAttribute("title");
    else element.title = before.title;
}

function msbd_update_greyed() {
    const scripts = gradioApp().querySelector("#img2img_script_container");
    if (scripts && scripts !== msbd_watched_scripts) {
        msbd_watched_scripts = scripts;
        const shown = {attributeFilter: ["class", "style"], childList: true, subtree: true};
        new MutationObserver(msbd_update_greyed).observe(scripts, shown);
        const modes = gradioApp().querySelector("#mode_img2img");
        modes?.addEventListener("click", () => setTimeout(msbd_update_greyed));
    }
    const table = gradioApp().querySelector(".msbd-without-effect");
    const tooltips = new Map();
    if (table && msbd_is_chosen(table)) {
        const start = msbd_start();
        for (const {selector, tooltip, alive} of JSON.parse(table.textContent)) {
            if (alive.includes(start)) continue;
            for (const element of gradioApp().querySelectorAll(selector)) tooltips.set(element, tooltip);
        }
    }
    for (const element of [...msbd_greyed.keys()]) {
        if (!tooltips.has(element)) msbd_ungrey(element);
    }
    for (const [element, tooltip] of tooltips) msbd_grey(element, tooltip);
}

onAfterUiUpdate(msbd_update_greyed);
