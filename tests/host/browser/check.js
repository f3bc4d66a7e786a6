// The settings page's button: choose presets, check, read and copy the block of text.
"use strict";

const ui = require("./page");

ui.play(async (page, work) => {
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await ui.openTab(page, "Settings");
    await page.locator("#settings > .tab-nav button", { hasText: ui.TITLE }).click();
    for (const box of await page.locator("#msbd_check_presets label").all()) {
        const name = (await box.innerText()).trim();
        await box.locator("input").setChecked(work.presets.includes(name));
    }
    await ui.choose(page, "#msbd_check_upscaler", work.upscaler);
    await page.click("#msbd_check_button");
    const bar = page.locator("#column_settings_msbd .progress");
    await bar.waitFor({ state: "attached" });
    await page.waitForFunction(
        () => document.querySelector("#column_settings_msbd .progress")?.textContent.match(/\d of \d/),
    );
    const progress = await bar.textContent();
    const field = page.locator("#setting_msbd_check textarea");
    await page.waitForFunction(
        () => document.querySelector("#setting_msbd_check textarea").value.includes("verdict"),
        null,
        { timeout: 200000 },
    );
    const text = await field.inputValue();
    await page.click("#setting_msbd_check button");
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    await field.scrollIntoViewIfNeeded();
    await page.screenshot({ path: `${work.folder}/check.png` });
    await page.click("#settings_submit");
    await page.waitForTimeout(1000);
    const kept = await page.evaluate(() => opts.msbd_check ?? "");
    return { text, copied, progress, kept };
});
