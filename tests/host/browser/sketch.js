// Inpaint sketch: a blot in a colour, which is finished; what of the WebUI's own controls is alive.
"use strict";

const ui = require("./page");

const SKETCH = "#inpaint_sketch";
/** Strength and Masked content. */
const OWN = ["#img2img_denoising_strength", "#img2img_inpainting_fill"];

/** A filled disc in the middle, as strokes. */
const BLOT = Array.from({ length: 121 }, (_, step) => {
    const angle = (step / 12) * 2 * Math.PI;
    const radius = 0.15 * (step / 120);
    return [0.5 + radius * Math.cos(angle), 0.5 + 1.2 * radius * Math.sin(angle)];
});

const alive = (page) =>
    page.evaluate(
        (names) =>
            names.map((name) => !document.querySelector(name).classList.contains("msbd-greyed")),
        OWN,
    );

/** gradio 3 shows its choice of colours beside the picture, Forge over it. */
async function chooseColour(page, colour) {
    const button = page.locator(`${SKETCH} button[aria-label="Select brush color"]`);
    if (await button.count()) await button.click();
    await ui.set(page.locator(`${SKETCH} input[type=color]`).first(), colour);
    if (await button.count()) await button.click();
}

ui.play(async (page, work) => {
    await ui.openMode(page, "Inpaint");
    await ui.chooseScript(page);
    await page.waitForSelector(".msbd-greyed", { state: "attached" });
    const before = await alive(page);
    await ui.openMode(page, "Inpaint sketch");
    await ui.upload(page, SKETCH, work.picture);
    await page.waitForTimeout(1000);
    const after = await alive(page);
    await ui.choose(page, `${ui.CONTROL}preset`, "draft");
    await page.waitForTimeout(1000);
    await ui.fields(page, work.fields);
    await ui.prepare(page, work);
    await ui.type(page, "#img2img_denoising_strength", work.strength);
    await chooseColour(page, work.colour);
    await ui.draw(page, SKETCH, BLOT);
    await page.screenshot({ path: `${work.folder}/sketch.png`, fullPage: true });
    await page.click(`${ui.CONTROL}dry_run`);
    await page.waitForSelector(`${ui.CONTROL}dry_run_text ul, ${ui.CONTROL}dry_run_text .msbd-error`);
    const plan = await ui.words(page, `${ui.CONTROL}dry_run_text`);
    await ui.generate(page);
    await ui.finished(page);
    return { alive: [...before, ...after], plan, ...(await ui.results(page)) };
});
