// The documentation's pictures: the tab, the dry run, a running job, the result, the settings.
"use strict";

const ui = require("./page");

ui.play(async (page, work) => {
    const file = (name) => `${work.folder}/${name}.png`;
    if (work.path) {
        await ui.openMode(page, "Inpaint");
        await ui.upload(page, "#img2maskimg", work.picture);
        await page.waitForTimeout(1000);
        await ui.draw(page, "#img2maskimg", work.path);
    } else await ui.uploadBoth(page, work);
    await ui.chooseScript(page);
    await ui.choose(page, `${ui.CONTROL}preset`, "fast");
    await page.waitForTimeout(1000);
    const folds = [1, 2, 3].map((place) => page.locator(`${ui.CONTROL}fold_${place} > .label-wrap`));
    for (const fold of folds) await fold.click();
    await ui.fields(page, work.fields);
    await ui.prepare(page, work);
    await page.evaluate(() => document.activeElement.blur());
    await page.waitForTimeout(500);
    if (work.path) await ui.shoot(page, file("canvas"), "#mode_img2img", "#script_list >> nth=1");
    await ui.shoot(page, file("tab"), "#script_list >> nth=1", `${ui.CONTROL}dry_run`);

    for (const fold of folds) await fold.click();
    await page.click(`${ui.CONTROL}dry_run`);
    const drawing = page.locator(`${ui.CONTROL}dry_run_picture img`).first();
    await drawing.evaluate((image) => image.decode());
    await page.waitForTimeout(1000);
    await ui.shoot(page, file("dry-run"), `${ui.CONTROL}dry_run_result`);

    await ui.generate(page);
    await page.waitForFunction(
        (words) =>
            document.querySelector("#img2img_results .progress")?.textContent.includes(words) &&
            document.querySelector("#img2img_results .livePreview img"),
        work.during,
        { timeout: 10 * ui.PATIENCE },
    );
    await page.waitForTimeout(700);
    await ui.shoot(page, file("running"), "#img2img_toprow", "#img2img_results");
    await ui.done(page, 10 * ui.PATIENCE);
    await page.waitForTimeout(1500);
    await ui.shoot(page, file("result"), "#img2img_toprow", "#img2img_results");

    await ui.openTab(page, "Settings");
    await page.locator("#settings > .tab-nav button", { hasText: ui.TITLE }).click();
    await page.locator("#setting_msbd_clip_weights textarea").fill("");
    await page.waitForTimeout(500);
    await ui.shoot(page, file("settings"), "#settings_submit", "#setting_msbd_resolution", "#msbd_check_button");
    return {};
});
