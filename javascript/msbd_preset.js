// What belongs to the quality preset. The arguments are those of the panel's module status.py:
// `facts`, the chosen preset, and then values of controls in the order of `facts.labels`, or of the
// host's sampler, steps and, since 1.9, schedule.

// The host's sampler, steps and schedule before the button has set others.
let msbd_sampling_before = null;

// The values that a preset gives the other controls.
function msbd_preset_values(facts, preset) {
    return Object.keys(facts.labels).map((name) => facts.presets[preset][name]);
}

// How the controls differ from the preset, with what is in the way of it, as HTML; and the button.
function msbd_preset_status(facts, preset, ...rest) {
    const names = Object.keys(facts.labels);
    const values = Object.fromEntries(names.map((name, place) => [name, rest[place]]));
    const sampling = msbd_sampling(facts, preset, rest.slice(names.length, -2));
    const lines = [msbd_preset_changes(facts, preset, values)];
    if (values.resampling_steps > 0) lines.push(facts.repaint[sampling.now[0]]);
    const html = lines.filter(Boolean).map((line) => `<p>${msbd_escaped(line)}</p>`).join("");
    return [html, { __type__: "update", value: sampling.offer, visible: sampling.offer !== "" }];
}

// Values for the host's controls: what the preset was measured with, or what was there before.
function msbd_preset_sampling(facts, preset, ...rest) {
    const sampling = msbd_sampling(facts, preset, rest.slice(0, rest.length / 2));
    const next = sampling.reached ? msbd_sampling_before : sampling.measured;
    msbd_sampling_before = sampling.reached ? null : sampling.now;
    return next;
}

function msbd_preset_changes(facts, preset, values) {
    const wanted = facts.presets[preset];
    const shown = (value) => (typeof value === "boolean" ? (value ? "on" : "off") : value);
    const changes = Object.entries(facts.labels)
        .filter(([name]) => (values[name] ?? wanted[name]) !== wanted[name])
        .map(([name, label]) => `${label} ${shown(values[name])} instead of ${shown(wanted[name])}`);
    return changes.length ? `${preset}, but: ${changes.join(" · ")}` : "";
}

// now: what the host's controls are set to. offer: what the button would do; "" for nothing.
function msbd_sampling(facts, preset, now) {
    const measured = facts.sampling[preset].slice(0, now.length);
    const reached = measured.every((value, place) => value === now[place]);
    const words = ([sampler, steps, schedule], other) =>
        `${sampler}, ${steps} steps` + (schedule === other[2] ? "" : `, schedule ${schedule}`);
    let offer = reached ? "" : `Use ${words(measured, now)}`;
    if (reached && msbd_sampling_before)
        offer = `Undo: back to ${words(msbd_sampling_before, now)}`;
    return { now, measured, reached, offer };
}

function msbd_escaped(text) {
    const signs = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
    return text.replace(/[&<>"]/g, (sign) => signs[sign]);
}
