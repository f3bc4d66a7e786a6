// The WebUI's controls without effect, greyed out while the script is chosen, and as before afterwards.
"use strict";

const ui = require("./page");

const GREYED = ".msbd-greyed";
const SOFT = "#soft_inpainting_enabled";

/** Whether the WebUI has Soft Inpainting: it needs a package that may be missing. */
async function hasSoft(page) {
    return (await page.locator(SOFT).count()) > 0;
}

/** Selector -> what its element and all parts of it are; attributes only if wanted. */
async function snapshot(page, selectors, attributes) {
    return page.evaluate(
        ([names, whole]) => {
            const seen = (node) => ({
                ...(whole && Object.fromEntries([...node.attributes].map((a) => [a.name, a.value]))),
                inputs: [node.value, node.checked, node.disabled, node.readOnly],
            });
            const parts = (root) => [root, ...root.querySelectorAll("*")].map(seen);
            const of = (name) => [...document.querySelectorAll(name)].map(parts);
            return Object.fromEntries(names.map((name) => [name, JSON.stringify(of(name))]));
        },
        [selectors, attributes],
    );
}

function differences(one, other) {
    return Object.keys(one).filter((name) => one[name] !== other[name]);
}

/** Selectors and tooltips as the page has them. */
async function table(page) {
    const rows = JSON.parse(await page.locator(".msbd-without-effect").textContent());
    return rows.flatMap(({ selector }) => selector.split(", "));
}

async function chooseScript(page) {
    await ui.chooseScript(page);
    await page.waitForSelector(GREYED, { state: "attached" });
    await page.waitForTimeout(500);
}

async function chooseNone(page) {
    await ui.choose(page, "#img2img_script_container #script_list", "None");
    await page.waitForSelector(GREYED, { state: "detached" });
}

/** Every greyed element: how it looks, which tooltip the mouse meets, whether it takes the focus. */
async function greyed(page, selectors) {
    const found = {};
    for (const selector of selectors) {
        const element = page.locator(selector);
        if ((await element.count()) === 0) continue;
        await element.scrollIntoViewIfNeeded();
        found[selector] = await element.evaluate((node) => {
            const box = (node.querySelector("input, button") ?? node).getBoundingClientRect();
            const met = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
            const inputs = [...node.querySelectorAll("input, button, .label-wrap")];
            return {
                tooltip: met?.closest("[title]")?.title ?? `none on ${met?.outerHTML.slice(0, 200)}`,
                opacity: Number(getComputedStyle(node).opacity),
                focused: inputs.some((input) => (input.focus(), document.activeElement === input)),
            };
        });
    }
    return found;
}

/** Clicks on every part with the mouse, and walks through the tab with the keyboard. */
async function operate(page, selectors) {
    for (const selector of selectors) {
        const element = page.locator(selector);
        if ((await element.count()) === 0) continue;
        await element.scrollIntoViewIfNeeded();
        for (const part of await element.locator("input, button, .label-wrap, label").all()) {
            const box = await part.boundingBox();
            if (!box) continue;
            await page.mouse.click(box.x + box.width * 0.3, box.y + box.height / 2);
            await page.keyboard.type("7");
        }
    }
    await page.locator("#img2img_steps input[type=number]").focus();
    const inside = [];
    for (let step = 0; step < 60; step++) {
        await page.keyboard.press("Tab");
        if (await page.evaluate(() => document.activeElement.closest(".msbd-greyed") !== null))
            inside.push(step);
    }
    return inside;
}

/** Other values than the first ones, set as a user does. */
async function change(page, work) {
    await ui.type(page, "#img2img_width", 640);
    await ui.type(page, "#img2img_denoising_strength", 0.33);
    await page.locator("#resize_mode label", { hasText: "Crop and resize" }).click();
    await page.locator("#img2img_inpainting_fill label", { hasText: "latent nothing" }).click();
    await page.locator("#img2img_inpaint_full_res label", { hasText: "Only masked" }).click();
    if (await hasSoft(page)) {
        await page.click(`${SOFT} > .label-wrap`);
        await ui.type(page, "#mask_blend_power", 5);
    }
    await page.click("#img2img_enable > .label-wrap");
    await page.click("#img2img_checkpoint input");
    await page.locator("ul.options li", { hasText: work.refiner }).click();
    await page.locator("#img2img_subseed_show input").check();
    await ui.type(page, "#img2img_seed_resize_from_w", 64);
    await ui.type(page, "#img2img_seed_resize_from_h", 96);
    await page.locator("#extra_options_img2img #setting_face_restoration input").check();
    await page.locator("#extra_options_img2img #setting_img2img_color_correction input").check();
    await page.locator("#img2img_tabs_resize .tab-nav button", { hasText: "Resize by" }).click();
    await ui.type(page, "#img2img_scale", 2.5);
    await page.waitForTimeout(1500);
}

async function pasted(page, work) {
    await page.locator("#img2img_prompt textarea").fill(work.pasted);
    await page.click("#img2img_tools #paste");
    await page.waitForSelector(GREYED, { state: "attached" });
    await page.waitForTimeout(1500);
    const number = (name) => page.locator(`${name} input[type=number]`).inputValue();
    const radio = (name) => page.locator(`${name} input:checked`).inputValue();
    return {
        width: await number("#img2img_width"),
        height: await number("#img2img_height"),
        strength: await number("#img2img_denoising_strength"),
        content: await radio("#img2img_inpainting_fill"),
        area: await radio("#img2img_inpaint_full_res"),
        padding: await number("#img2img_inpaint_full_res_padding"),
        ...((await hasSoft(page)) && {
            soft: await page.locator(`${SOFT}-visible-checkbox`).isChecked(),
            bias: await number("#mask_blend_power"),
        }),
    };
}

/** What gradio or an extension puts in anew. */
async function renewed(page) {
    await page.evaluate(() => {
        const strength = document.querySelector("#img2img_denoising_strength");
        strength.append(document.createElement("p"));
    });
    await page.waitForFunction(() => document.querySelector("#img2img_denoising_strength > p").inert);
    await page.evaluate(() => document.querySelector("#img2img_denoising_strength > p").remove());
}

ui.play(async (page, work) => {
    const count = () => page.locator(GREYED).count();
    await ui.uploadBoth(page, work);
    await ui.prepare(page, work);
    const selectors = await table(page);
    await change(page, work);
    const [values, whole] = [
        await snapshot(page, selectors, false),
        await snapshot(page, selectors, true),
    ];
    await chooseScript(page);
    const seen = await greyed(page, selectors);
    const focused = await operate(page, selectors);
    const changed = differences(values, await snapshot(page, selectors, false));
    await renewed(page);
    const modes = [];
    for (const mode of ["img2img", "Inpaint", "Inpaint upload"]) {
        await ui.openMode(page, mode);
        const state = mode === "img2img" ? "hidden" : "visible";
        await page.waitForSelector("#inpaint_controls", { state });
        await page.waitForTimeout(500);
        modes.push(await count());
    }
    await ui.fields(page, work.fields);
    await page.waitForTimeout(1000); // the preset fills in the other controls
    await ui.generate(page);
    await ui.finished(page);
    const result = await ui.results(page);
    await chooseNone(page);
    const left = differences(whole, await snapshot(page, selectors, true));

    const arrived = await pasted(page, work);
    const pastedGreyed = await count();
    await chooseNone(page);
    await page.locator("#img2img_tabs_resize .tab-nav button", { hasText: "Resize to" }).click();
    await ui.type(page, "#img2img_width", 448);
    const usable = await page.locator("#img2img_width input[type=number]").inputValue();
    await page.evaluate(() => document.querySelector("#resize_mode").remove());
    await chooseScript(page);
    const missing = await count();
    return {
        ...result,
        greyed: seen,
        focused,
        changed,
        modes,
        left,
        pasted: arrived,
        pastedGreyed,
        usable,
        missing,
    };
});
