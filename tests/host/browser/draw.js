// Inpaint and Inpaint sketch: the mask is drawn with the mouse.
"use strict";

const ui = require("./page");

const PLACE = { Inpaint: "#img2maskimg", "Inpaint sketch": "#inpaint_sketch" };

/** A ring round the middle; the host fits the picture to its column when the mouse comes. */
async function draw(page, selector) {
    const canvas = page.locator(`${selector} canvas[key="interface"]`);
    await canvas.hover();
    await page.waitForTimeout(1000);
    const box = await canvas.boundingBox();
    const reach = Math.min(box.width, box.height) / 6;
    const at = async (turn) => {
        const angle = turn * 2 * Math.PI;
        await page.mouse.move(
            box.x + box.width / 2 + reach * Math.cos(angle),
            box.y + box.height / 2 + reach * Math.sin(angle),
        );
        await page.waitForTimeout(40);
    };
    await at(0);
    await page.mouse.down();
    for (let step = 0; step <= 24; step++) await at(step / 24);
    await page.mouse.up();
    await page.waitForTimeout(500);
}

ui.play(async (page, work) => {
    const selector = PLACE[work.mode];
    await ui.openMode(page, work.mode);
    await ui.upload(page, selector, work.picture);
    await page.waitForTimeout(1000);
    await ui.chooseScript(page);
    await ui.choose(page, `${ui.CONTROL}preset`, "draft");
    await ui.fields(page, work.fields);
    await ui.prepare(page, work);
    await draw(page, selector);
    await page.click(`${ui.CONTROL}dry_run`);
    await page.waitForSelector(`${ui.CONTROL}dry_run_text ul, ${ui.CONTROL}dry_run_text .msbd-error`);
    const plan = await ui.words(page, `${ui.CONTROL}dry_run_text`);
    await ui.generate(page);
    await ui.finished(page);
    return { plan, ...(await ui.results(page)) };
});
