// The settings page has the section, and a changed default shows after Reload UI.
"use strict";

const ui = require("./page");

ui.play(async (page, work) => {
    await ui.openTab(page, "Settings");
    await page.locator("#settings > .tab-nav button", { hasText: ui.TITLE }).click();
    const shown = {};
    for (const name of work.options)
        shown[name] = await page.isVisible(`#setting_msbd_${name}`);
    const hidden = {};
    for (const name of work.unseen)
        hidden[name] = !(await page.isVisible(`#setting_msbd_${name}`));
    const faults = await page.locator("#settings .error:visible").count();
    await ui.choose(page, "#setting_msbd_preset", "draft");
    await page.click("#settings_submit");
    await page.waitForFunction(() => opts.msbd_preset === "draft");
    await page.click("#settings_restart_gradio");
    await page.waitForFunction(() => typeof opts === "undefined", null, { timeout: 10000 }).catch(
        () => {},
    );
    await page.waitForTimeout(3000);
    await page.goto(work.url, { waitUntil: "load" }).catch(() => {});
    await ui.ready(page);
    await ui.openTab(page, "img2img");
    await ui.chooseScript(page);
    return {
        shown,
        hidden,
        faults,
        preset: await ui.value(page, "preset"),
        candidates: await ui.value(page, "candidates"),
    };
});
