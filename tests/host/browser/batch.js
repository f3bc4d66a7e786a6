// The Batch tab with folders: Generate, and what is shown at the end.
"use strict";

const ui = require("./page");

ui.play(async (page, work) => {
    await ui.openMode(page, "Batch");
    await ui.fromDirectory(page);
    for (const [name, folder] of Object.entries(work.folders))
        await page.locator(`#img2img_batch_${name} textarea`).fill(folder);
    await ui.chooseScript(page);
    await ui.choose(page, `${ui.CONTROL}preset`, "draft");
    await page.waitForTimeout(1000);
    await ui.fields(page, work.fields);
    await ui.prepare(page, work);
    const observing = ui.observe(page, work.patience);
    await ui.generate(page);
    const observed = await observing;
    await ui.done(page, work.patience);
    return { ...observed, ...(await ui.results(page)) };
});
