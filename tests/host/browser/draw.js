// Inpaint and Inpaint sketch: the mask is drawn with the mouse.
"use strict";

const ui = require("./page");

const PLACE = { Inpaint: "#img2maskimg", "Inpaint sketch": "#inpaint_sketch" };

/** Round the middle. */
const RING = Array.from({ length: 25 }, (_, step) => {
    const angle = (step / 24) * 2 * Math.PI;
    return [0.5 + 0.15 * Math.cos(angle), 0.5 + 0.18 * Math.sin(angle)];
});

ui.play(async (page, work) => {
    const selector = PLACE[work.mode];
    await ui.openMode(page, work.mode);
    await ui.upload(page, selector, work.picture);
    await page.waitForTimeout(1000);
    await ui.chooseScript(page);
    await ui.choose(page, `${ui.CONTROL}preset`, "draft");
    await ui.fields(page, work.fields);
    await ui.prepare(page, work);
    await ui.draw(page, selector, RING);
    await page.click(`${ui.CONTROL}dry_run`);
    await page.waitForSelector(`${ui.CONTROL}dry_run_text ul, ${ui.CONTROL}dry_run_text .msbd-error`);
    const plan = await ui.words(page, `${ui.CONTROL}dry_run_text`);
    await ui.generate(page);
    await ui.finished(page);
    return { plan, ...(await ui.results(page)) };
});
