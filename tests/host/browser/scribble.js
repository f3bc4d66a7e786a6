// Inpaint: strokes with gaps between them, and the mask's shape chosen in its fold.
"use strict";

const ui = require("./page");

const CANVAS = "#img2maskimg";

/** From left to right and back, farther down each time: the brush leaves gaps. */
const STROKES = Array.from({ length: 33 }, (_, step) => {
    const row = Math.floor(step / 4);
    const along = (step % 4) / 3;
    return [0.3 + 0.4 * (row % 2 ? 1 - along : along), 0.22 + 0.07 * row];
});

ui.play(async (page, work) => {
    await ui.openMode(page, "Inpaint");
    await ui.upload(page, CANVAS, work.picture);
    await page.waitForTimeout(1000);
    await ui.chooseScript(page);
    await ui.choose(page, `${ui.CONTROL}preset`, "draft");
    await page.waitForTimeout(1000);
    await ui.fields(page, work.fields);
    await ui.prepare(page, work);
    await ui.type(page, "#img2img_mask_blur", 0);
    await page.locator(`${ui.CONTROL}fold_1 > .label-wrap`).click();
    await page.locator(`${ui.CONTROL}mask_shape label`, { hasText: work.shape }).click();
    await thin(page);
    await ui.draw(page, CANVAS, STROKES);
    await page.screenshot({ path: `${work.folder}/scribble.png`, fullPage: true });
    await page.click(`${ui.CONTROL}dry_run`);
    await page.waitForSelector(`${ui.CONTROL}dry_run_text ul, ${ui.CONTROL}dry_run_text .msbd-error`);
    const plan = await ui.words(page, `${ui.CONTROL}dry_run_text`);
    await ui.generate(page);
    await ui.finished(page);
    return { plan, ...(await ui.results(page)) };
});

/** A brush of few pixels: gradio 3's slider beside the picture, Forge's over it. */
async function thin(page) {
    const button = page.locator(`${CANVAS} button[aria-label="Use brush"]`);
    if (await button.count()) await button.click();
    const slider = page.locator(`${CANVAS} input[type=range]`).first();
    await ui.set(slider, (await button.count()) ? 11 : await slider.getAttribute("min"));
    if (await button.count()) await button.click();
}
