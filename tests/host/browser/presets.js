// The quality preset: what is seen at first, what differs from it, the sampler it was measured
// with and the way back, and what is said before Generate.
"use strict";

const ui = require("./page");

const BUTTON = `${ui.CONTROL}sampling`;
const CHANGES = `${ui.CONTROL}changes`;
const HOST = ["#img2img_sampling input", "#img2img_steps input", "#img2img_scheduler input"];

/** Names of our controls that are seen, from top to bottom. */
async function seen(page) {
    return page.evaluate((prefix) => {
        const inputs = [...document.querySelectorAll(`[id^="${prefix}"] :is(input, textarea)`)];
        const shown = inputs.filter((input) => input.offsetParent);
        const names = shown.map((input) => input.closest(`[id^="${prefix}"]`).id);
        return [...new Set(names)].map((name) => name.slice(prefix.length));
    }, ui.CONTROL.slice(1));
}

async function said(page) {
    await page.waitForTimeout(400);
    return (await page.locator(CHANGES).first().textContent()).trim();
}

/** What the button offers; "" while it is hidden. */
async function offer(page) {
    await page.waitForTimeout(400);
    const button = page.locator(BUTTON);
    return (await button.isVisible()) ? (await button.innerText()).trim() : "";
}

async function sampling(page) {
    const values = [];
    for (const selector of HOST) values.push(await page.locator(selector).first().inputValue());
    return values;
}

/** Drags a slider as a hand does, in many small moves; what it is set to in the end. */
async function drag(page, name) {
    const box = await page.locator(`${ui.CONTROL}${name} input[type=range]`).boundingBox();
    const y = box.y + box.height / 2;
    await page.mouse.move(box.x + 2, y);
    await page.mouse.down();
    for (let step = 1; step <= 60; step++) await page.mouse.move(box.x + (box.width * step) / 80, y);
    await page.mouse.up();
    return ui.value(page, name);
}

async function paste(page, infotext) {
    await page.locator("#img2img_prompt textarea").fill(infotext);
    await page.click("#img2img_tools #paste");
}

ui.play(async (page, work) => {
    await ui.uploadBoth(page, work);
    await ui.choose(page, "#img2img_sampling", "DPM++ 2M");
    await ui.choose(page, "#img2img_scheduler", "Karras");
    await ui.type(page, "#img2img_steps", 20);
    await ui.chooseScript(page);
    await ui.choose(page, `${ui.CONTROL}preset`, "recommended");
    const found = { controls: await seen(page), first: await said(page), before: await sampling(page) };

    found.use = await offer(page);
    await page.click(BUTTON);
    found.undo = await offer(page);
    found.measured = await sampling(page);
    found.calm = await said(page);
    await page.click(BUTTON);
    found.back = await offer(page);
    found.after = await sampling(page);

    await page.click(BUTTON);
    await ui.type(page, `${ui.CONTROL}candidates`, 3);
    found.one = await said(page);
    await ui.type(page, `${ui.CONTROL}final_strength`, 0.4);
    await page.locator(`${ui.CONTROL}decoder label`, { hasText: "off" }).click();
    found.three = await said(page);
    found.dragged = await drag(page, "candidates");
    found.drawn = await said(page);
    await ui.choose(page, `${ui.CONTROL}preset`, "fast");
    await page.waitForFunction(
        ([selector, dragged]) => document.querySelector(selector).value !== dragged,
        [`${ui.CONTROL}candidates input[type=number]`, found.dragged],
    );
    found.fast = [await said(page), await ui.value(page, "candidates")];
    found.fewer = await offer(page);
    await paste(page, work.infotext);
    await page.waitForTimeout(1500);
    found.pasted = [await said(page), await offer(page), await ui.value(page, "preset")];

    await ui.openMode(page, "Inpaint upload"); // pasting has left it
    await ui.choose(page, `${ui.CONTROL}preset`, "draft");
    await ui.fields(page, { upscaler: "Lanczos" });
    for (const fold of [1, 2, 3]) await page.locator(`${ui.CONTROL}fold_${fold} > .label-wrap`).click();
    await ui.fields(page, { resampling_steps: 1 });
    await ui.prepare(page, work);
    await ui.choose(page, "#img2img_sampling", "DPM++ 2M");
    found.warned = await said(page);
    found.unfolded = await seen(page);
    await ui.generate(page);
    await ui.finished(page);
    return { ...found, ...(await ui.results(page)) };
});
