// What the scenarios share: a page with the WebUI's img2img tab, and how to use it as a person.
"use strict";

const { chromium } = require("playwright-core");

const TITLE = "Multi-Stage Blended Diffusion";
const CONTROL = "#script_multistage_blended_diffusion_";
const PATIENCE = 60000;

/** Runs a scenario with the work that the command line describes; prints what it returns. */
async function play(scenario) {
    const work = JSON.parse(process.argv[2]);
    const browser = await chromium.launch({
        executablePath: work.browser,
        args: ["--no-sandbox", "--disable-gpu"],
    });
    const page = await browser.newPage({
        viewport: { width: 1400, height: 1000 },
        deviceScaleFactor: work.scale ?? 1,
    });
    page.setDefaultTimeout(PATIENCE);
    const errors = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    page.on("dialog", (dialog) => dialog.accept());
    try {
        await page.goto(work.url);
        await ready(page);
        const found = await scenario(page, work);
        console.log(JSON.stringify({ ...found, errors }));
    } catch (error) {
        await page.screenshot({ path: `${work.folder}/failure.png` });
        console.error(`${error.stack}\non the page: ${errors.join("\n")}`);
        process.exitCode = 1;
    } finally {
        await browser.close();
    }
}

async function ready(page) {
    await page.waitForFunction(() => typeof opts !== "undefined" && Object.keys(opts).length > 0);
    await page.waitForSelector("#img2img_generate", { state: "attached" });
}

async function openTab(page, name) {
    await page.locator("#tabs > .tab-nav button", { hasText: name }).first().click();
}

async function openMode(page, name) {
    await openTab(page, "img2img");
    await page.locator("#mode_img2img > .tab-nav button").getByText(name, { exact: true }).click();
}

async function upload(page, selector, file) {
    await page.locator(`${selector} input[type=file]`).first().setInputFiles(file);
    await page.waitForSelector(`${selector} :is(img[src], canvas[key])`, { state: "attached" });
}

/** Draws with the mouse on a picture: gradio 3's or Forge's. path: places on it, from 0 to 1. */
async function draw(page, selector, path) {
    const picture = page.locator(`${selector} :is(canvas[key="interface"], .forge-image)`);
    // What is drawn lies over Forge's picture; gradio 3 fits its own to the column now.
    await picture.hover({ force: true });
    await page.waitForTimeout(1000);
    const box = await picture.boundingBox();
    const move = async ([x, y]) => {
        await page.mouse.move(box.x + box.width * x, box.y + box.height * y);
        await page.waitForTimeout(40);
    };
    await move(path[0]);
    await page.mouse.down();
    for (const place of path) await move(place);
    await page.mouse.up();
    await page.waitForTimeout(500);
}

/** Gives an input a value that cannot be typed: a slider's, a colour's. */
async function set(input, value) {
    await input.evaluate((one, given) => {
        const own = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set;
        own.call(one, given);
        for (const name of ["input", "change"]) one.dispatchEvent(new Event(name, { bubbles: true }));
    }, value);
}

/** In the Batch tab, where it has a choice. */
async function fromDirectory(page) {
    const source = page.locator("#img2img_batch_source > .tab-nav button").getByText("From directory");
    if (await source.count()) await source.click();
}

/** Picture and mask, in the mode that takes both as files. */
async function uploadBoth(page, work) {
    await openMode(page, "Inpaint upload");
    await upload(page, "#img_inpaint_base", work.picture);
    await upload(page, "#img_inpaint_mask", work.mask);
}

async function chooseScript(page) {
    await page.click("#img2img_script_container #script_list input");
    await page.click(`ul.options li[aria-label="${TITLE}"]`);
    await page.waitForSelector(`${CONTROL}candidates`, { state: "visible" });
}

/** Types into a number, a slider's number or a text. */
async function type(page, selector, value) {
    const field = page.locator(`${selector} input[type=number], ${selector} textarea`).first();
    await field.fill(String(value));
    await field.blur();
}

async function choose(page, selector, value) {
    await page.click(`${selector} input`);
    await page.click(`ul.options li[aria-label="${value}"]`);
}

async function tick(page, selector, value) {
    await page.locator(`${selector} input[type=checkbox]`).setChecked(value);
}

/** Sets several of the script's fields; strings are choices. */
async function fields(page, values) {
    const ways = { string: choose, boolean: tick, number: type };
    for (const [name, value] of Object.entries(values)) {
        await ways[typeof value](page, CONTROL + name, value);
    }
}

/** What a control of the script shows; of radio buttons, the chosen one. */
async function value(page, name) {
    const inputs = page.locator(`${CONTROL}${name} :is(input, textarea)`);
    const radios = (await inputs.first().getAttribute("type")) === "radio";
    return (radios ? page.locator(`${CONTROL}${name} input:checked`) : inputs).first().inputValue();
}

/** The words of an element; Gradio gives some ids twice. */
async function words(page, selector) {
    return page.locator(selector).first().innerText();
}

/** Everything of the host that a quick edit needs. */
async function prepare(page, work) {
    await page.locator("#img2img_prompt textarea").fill(work.prompt);
    await type(page, "#img2img_steps", work.steps);
    await type(page, "#img2img_seed", work.seed);
    await type(page, "#img2img_cfg_scale", work.guidance ?? 6);
    await choose(page, "#img2img_sampling", "Euler a");
}

async function generate(page) {
    await page.click("#img2img_generate");
}

async function finished(page) {
    await page.waitForSelector("#img2img_results .progressDiv", { state: "attached" });
    await done(page);
}

async function done(page, patience = PATIENCE) {
    const bar = "#img2img_results .progressDiv";
    await page.waitForSelector(bar, { state: "detached", timeout: patience });
    await page.waitForSelector("#html_info_img2img p, #html_log_img2img .error", {
        state: "attached",
    });
}

/** The gallery's pictures, with their natural sizes, and the words below. */
async function results(page) {
    const pictures = await page.evaluate(async () => {
        const seen = [...document.querySelectorAll("#img2img_gallery img")];
        const urls = [...new Set(seen.map((i) => i.src).filter((u) => u.includes("file=")))];
        const load = (url) =>
            new Promise((resolve) => {
                const image = new Image();
                image.onload = () =>
                    resolve({ url, width: image.naturalWidth, height: image.naturalHeight });
                image.src = url;
            });
        return Promise.all(urls.map(load));
    });
    return {
        pictures,
        infotext: await words(page, "#html_info_img2img"),
        log: await words(page, "#html_log_img2img"),
    };
}

/** Collects what the progress bar says and whether a preview is shown, until the end. */
async function observe(page, until) {
    return page.evaluate(
        (limit) =>
            new Promise((resolve) => {
                const said = new Set();
                const previews = new Set();
                const start = Date.now();
                let began = false;
                const look = () => {
                    const bar = document.querySelector("#img2img_results .progressDiv .progress");
                    began ||= bar !== null;
                    if (bar?.textContent) said.add(bar.textContent);
                    for (const image of document.querySelectorAll("#img2img_results .livePreview img"))
                        previews.add(image.src.length + image.src.slice(-40));
                    if ((began && bar === null) || Date.now() - start > limit)
                        resolve({ said: [...said], previews: previews.size });
                    else setTimeout(look, 30);
                };
                look();
            }),
        until,
    );
}

/** A picture of the page around some elements. */
async function shoot(page, file, ...selectors) {
    const found = selectors.map((selector) => page.locator(selector).first());
    const boxes = await Promise.all(found.map((element) => element.boundingBox()));
    const scrolled = await page.evaluate(() => window.scrollY);
    const [left, top, right, bottom] = [
        Math.min(...boxes.map((box) => box.x)) - 12,
        Math.min(...boxes.map((box) => box.y)) - 12 + scrolled,
        Math.max(...boxes.map((box) => box.x + box.width)) + 12,
        Math.max(...boxes.map((box) => box.y + box.height)) + 12 + scrolled,
    ];
    const clip = { x: left, y: top, width: right - left, height: bottom - top };
    await page.screenshot({ path: file, clip, fullPage: true });
}

module.exports = {
    CONTROL,
    PATIENCE,
    TITLE,
    choose,
    chooseScript,
    done,
    draw,
    fields,
    finished,
    fromDirectory,
    generate,
    observe,
    openMode,
    openTab,
    play,
    prepare,
    ready,
    results,
    set,
    shoot,
    type,
    upload,
    uploadBoth,
    value,
    words,
};
