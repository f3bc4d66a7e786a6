// Stop for my choice, choose the third, Continue, More candidates, Redo with another prompt,
// Before / after, Forget.
"use strict";

const ui = require("./page");

const FOLD = 4;

/** What the gallery shows after a button that presses Generate. */
async function after(page, button) {
    await page.click(`${ui.CONTROL}${button}`);
    await page.waitForSelector("#img2img_results .progressDiv", { state: "attached" });
    await ui.done(page, 10 * ui.PATIENCE);
    await page.waitForTimeout(1500);
    return ui.results(page);
}

/** The controls that the buttons set, as they are now. */
async function set(page) {
    const text = (name) => page.locator(`${ui.CONTROL}${name} textarea`).first().inputValue();
    return {
        candidate: await text("candidate"),
        edit_id: await text("edit_id"),
        continue_from: await ui.value(page, "continue_from"),
        candidates: await ui.value(page, "candidates"),
    };
}

ui.play(async (page, work) => {
    await ui.uploadBoth(page, work);
    await ui.chooseScript(page);
    await ui.choose(page, `${ui.CONTROL}preset`, work.preset ?? "fast");
    await page.waitForTimeout(1000);
    for (const place of [2, FOLD])
        await page.locator(`${ui.CONTROL}fold_${place} > .label-wrap`).click();
    await ui.fields(page, { ...work.fields, candidates_only: true });
    await ui.prepare(page, work);
    const before = await set(page);
    await ui.generate(page);
    await page.waitForSelector("#img2img_results .progressDiv", { state: "attached" });
    await ui.done(page, 10 * ui.PATIENCE);
    await page.waitForTimeout(1500);
    const candidates = await ui.results(page);
    await page.locator("#img2img_gallery .thumbnail-item").nth(work.choice).click();
    await page.waitForTimeout(1000);
    const fold = `${ui.CONTROL}fold_${FOLD}`;
    await ui.shoot(page, `${work.folder}/choose.png`, "#img2img_results");
    await ui.shoot(page, `${work.folder}/buttons.png`, fold, `${ui.CONTROL}forget`);
    const continued = await after(page, "continue");
    const left = await set(page);
    await page.click(`${ui.CONTROL}compare`);
    await page.waitForSelector(".msbd-views img");
    const views = await page.locator(".msbd-views img").evaluateAll((images) =>
        Promise.all(images.map((one) => one.decode().then(() => [one.naturalWidth, one.naturalHeight]))),
    );
    const slider = page.locator(".msbd-views input");
    await ui.set(slider, 25);
    const at = await page.locator(".msbd-views").evaluate((one) =>
        getComputedStyle(one).getPropertyValue("--msbd-at"),
    );
    await ui.shoot(page, `${work.folder}/compare.png`, "#img2img_results");
    const [saved] = await Promise.all([
        page.waitForEvent("download"),
        page.click(".msbd-kept a[download]"),
    ]);
    await saved.saveAs(`${work.folder}/saved.jpg`);

    await page.locator("#img2img_prompt textarea").fill(work.other);
    const redone = await after(page, "redo");
    await page.click(`${ui.CONTROL}forget`);
    await page.waitForSelector(".msbd-kept .msbd-note");
    const forgotten = await ui.words(page, ".msbd-kept");
    const name = saved.suggestedFilename();
    return { before, candidates, continued, left, views, at, name, redone, forgotten };
});
