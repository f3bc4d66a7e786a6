// Show candidates is ticked; what is seen in each stage, and below the result with its gallery.
"use strict";

const ui = require("./page");

ui.play(async (page, work) => {
    if (work.theme) await page.goto(`${work.url}/?__theme=${work.theme}`).then(() => ui.ready(page));
    await ui.uploadBoth(page, work);
    await ui.chooseScript(page);
    await ui.choose(page, `${ui.CONTROL}preset`, work.preset);
    await ui.fields(page, work.fields);
    const box = page.locator(`${ui.CONTROL}show_candidates input`);
    if (!(await box.isVisible())) await page.locator(`${ui.CONTROL}fold_2 > .label-wrap`).click();
    await box.setChecked(true);
    await page.screenshot({ path: `${work.folder}/panel.png`, fullPage: true });
    // Another preset has its own values for what it sets, and this is no part of it.
    await ui.choose(page, `${ui.CONTROL}preset`, work.preset === "fast" ? "draft" : "fast");
    await page.waitForTimeout(500);
    const kept = await box.isChecked();
    await ui.choose(page, `${ui.CONTROL}preset`, work.preset);
    await page.waitForTimeout(500);
    await ui.fields(page, work.fields);
    await ui.prepare(page, work);
    const observing = ui.observe(page, ui.PATIENCE * 5);
    await ui.generate(page);
    for (const moment of work.moments) {
        await page.waitForFunction(
            (words) =>
                document.querySelector("#img2img_results .progress")?.textContent.includes(words) &&
                document.querySelector("#img2img_results .livePreview img"),
            moment,
            { timeout: 5 * ui.PATIENCE },
        );
        const name = moment.replace(/\W+/g, "_");
        await page.screenshot({ path: `${work.folder}/${name}.png` });
    }
    const observed = await observing;
    await ui.done(page, 5 * ui.PATIENCE);
    const found = await ui.results(page);
    await page.waitForTimeout(1000);
    await page.locator("#img2img_results").screenshot({ path: `${work.folder}/result.png` });
    return { kept, ...observed, ...found };
});
