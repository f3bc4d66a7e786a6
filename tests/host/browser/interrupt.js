// Two pictures to come: the first click lets the running one finish, two clicks end it at once.
"use strict";

const ui = require("./page");

ui.play(async (page, work) => {
    await ui.uploadBoth(page, work);
    await ui.chooseScript(page);
    await ui.choose(page, `${ui.CONTROL}preset`, "draft");
    await ui.fields(page, work.fields);
    await ui.prepare(page, work);
    await ui.type(page, "#img2img_batch_count", 3);
    await ui.generate(page);
    await page.waitForFunction(
        (words) => document.querySelector("#img2img_results .progress")?.textContent.includes(words),
        "Stage 2 of 3: ",
    );
    await page.click("#img2img_interrupt");
    if (work.clicks === 2) await page.click("#img2img_interrupting");
    await ui.done(page);
    const found = await ui.results(page);
    await ui.type(page, "#img2img_batch_count", 1);
    await ui.generate(page);
    await ui.finished(page);
    return { ...found, after: await ui.results(page) };
});
