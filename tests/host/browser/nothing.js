// A dry run without a picture says what is missing.
"use strict";

const ui = require("./page");

ui.play(async (page) => {
    await ui.openMode(page, "Inpaint upload");
    await ui.chooseScript(page);
    await page.click(`${ui.CONTROL}dry_run`);
    await page.waitForSelector(`${ui.CONTROL}dry_run_text .msbd-error`);
    return { plan: await ui.words(page, `${ui.CONTROL}dry_run_text`) };
});
