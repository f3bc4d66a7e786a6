// Pasting an infotext chooses the script and sets its controls.
"use strict";

const ui = require("./page");

ui.play(async (page, work) => {
    await ui.openTab(page, "img2img");
    await page.locator("#img2img_prompt textarea").fill(work.infotext);
    await page.click("#img2img_tools #paste");
    await page.waitForSelector(`${ui.CONTROL}candidates`, { state: "visible" });
    await page.waitForFunction(
        (prompt) => document.querySelector("#img2img_prompt textarea").value === prompt,
        work.prompt,
    );
    await page.waitForTimeout(500);
    const values = {};
    for (const name of work.controls) values[name] = await ui.value(page, name);
    const checked = await page.locator(`${ui.CONTROL}whole_cells input`).isChecked();
    const script = await page.locator("#img2img_script_container #script_list input").inputValue();
    const overrides = await page.locator("#img2img_override_settings").innerText();
    const blur = await page.locator("#img2img_mask_blur input[type=number]").inputValue();
    return { values, checked, script, blur, overrides };
});
