// Inpaint and Inpaint sketch: the mask is drawn with the mouse.
"use strict";

const ui = require("./page");

const PLACE = { Inpaint: "#img2maskimg", "Inpaint sketch": "#inpaint_sketch" };

async function draw(page, selector) {
    const canvas = page.locator(`${selector} canvas[key="interface"], ${selector} canvas`).last();
    await canvas.scrollIntoViewIfNeeded();
    await page.waitForTimeout(500);
    const box = await canvas.boundingBox();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    const reach = Math.min(box.width, box.height) / 8;
    await page.mouse.move(x - reach, y - reach);
    await page.mouse.down();
    for (let turn = 0; turn <= 12; turn++) {
        const angle = (turn / 12) * 2 * Math.PI;
        await page.mouse.move(x + reach * Math.cos(angle), y + reach * Math.sin(angle), {
            steps: 4,
        });
    }
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
    await page.waitForSelector(`${ui.CONTROL}dry_run_text pre, ${ui.CONTROL}dry_run_text .msbd-error`);
    const plan = await ui.words(page, `${ui.CONTROL}dry_run_text`);
    await ui.generate(page);
    await ui.finished(page);
    return { plan, ...(await ui.results(page)) };
});
