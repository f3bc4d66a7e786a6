// Arguments of the dry run: which mode of the img2img tab is shown is known to the browser only.
// Pictures of the other modes are left out, as they may be large.
function msbd_dry_run_arguments(...values) {
    const outputs = 2;
    const pictures = {2: [1], 3: [2], 4: [4, 5]};
    const mode = get_tab_index("mode_img2img");
    const kept = pictures[mode] || [];
    const inputs = values.slice(0, -outputs);
    inputs[0] = mode;
    for (const place of [1, 2, 4, 5]) {
        if (!kept.includes(place)) inputs[place] = null;
    }
    return inputs;
}

// Arguments of the check: a task of the host's, so that its progress bar shows above the text.
function msbd_check_arguments(_task, presets, upscaler) {
    const task = randomId();
    requestProgress(task, gradioApp().getElementById("setting_msbd_check"), null, () => {});
    return [task, presets, upscaler];
}
