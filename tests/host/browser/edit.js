// Inpaint upload: choose the script, look at its controls, dry run, Generate.
"use strict";

const ui = require("./page");

ui.play(async (page, work) => {
    await ui.uploadBoth(page, work);
    const hiddenBefore = !(await page.isVisible(`${ui.CONTROL}candidates`));
    await ui.chooseScript(page);
    const seen = {};
    for (const name of work.controls)
        seen[name] = await page.isVisible(`${ui.CONTROL}${name}`);
    const unfolded = {};
    for (const [place, names] of work.folded.entries()) {
        await page.locator(`${ui.CONTROL}fold_${place + 1} > .label-wrap`).click();
        for (const name of names) {
            await page.waitForSelector(`${ui.CONTROL}${name}`, { state: "visible" });
            unfolded[name] = true;
        }
    }
    await ui.choose(page, `${ui.CONTROL}preset`, "draft");
    await page.waitForFunction(
        (selector) => document.querySelector(`${selector} input[type=number]`).value === "1",
        `${ui.CONTROL}candidates`,
    );
    const filled = await ui.value(page, "resampling_steps");
    await ui.fields(page, work.fields);
    await ui.prepare(page, work);

    await page.click(`${ui.CONTROL}dry_run`);
    await page.waitForSelector(`${ui.CONTROL}dry_run_text ul`);
    const plan = await ui.words(page, `${ui.CONTROL}dry_run_text`);
    const drawing = page.locator(`${ui.CONTROL}dry_run_picture img`).first();
    await drawing.waitFor();
    const drawn = await drawing.evaluate(
        (image) => image.decode().then(() => [image.naturalWidth, image.naturalHeight]),
    );

    const observing = ui.observe(page, ui.PATIENCE);
    await ui.generate(page);
    const observed = await observing;
    await ui.done(page);
    return {
        hiddenBefore, seen, unfolded, filled, plan, drawn, ...observed, ...(await ui.results(page)),
    };
});
