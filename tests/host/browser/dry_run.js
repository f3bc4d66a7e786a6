// The dry run in every mode that has a mask: where it shows, what it says, when it goes.
"use strict";

const ui = require("./page");

const RESULT = `${ui.CONTROL}dry_run_result`;
const TEXT = `${ui.CONTROL}dry_run_text`;
const DRAWING = `${ui.CONTROL}dry_run_picture img`;
/** A1111's and Forge's. */
const CHECKPOINT = ":is(#setting_sd_model_checkpoint, .model_selection)";

/** Presses the button; how long until something is said, and what comes of it. */
async function press(page, button = "dry_run") {
    const first = await page.evaluate(
        ([button, result]) =>
            // Kept, as a promise that only its observer knows may be collected.
            (window.msbdPressed = new Promise((resolve) => {
                const column = document.querySelector(result);
                const start = performance.now();
                const seen = [];
                const observer = new MutationObserver(() => {
                    seen.push(column.innerText);
                    if (!column.innerText.includes("Planning")) return;
                    observer.disconnect();
                    resolve({ said: column.innerText, after: performance.now() - start });
                });
                observer.observe(column, { attributes: true, subtree: true, childList: true });
                setTimeout(() => resolve({ said: seen, after: -1 }), 20000);
                document.querySelector(button).click();
            })),
        [`${ui.CONTROL}${button}`, RESULT],
    );
    await page.waitForSelector(`${TEXT} ul, ${TEXT} .msbd-error`);
    await page.waitForSelector(`${RESULT}:not([data-state="planning"])`);
    const text = await ui.words(page, TEXT);
    return { ...first, text, ...(await drawn(page)) };
}

/** Whether the drawing is in the results' column above the gallery, and its size. */
async function drawn(page) {
    const image = page.locator(DRAWING).first();
    if (!(await image.isVisible())) return { size: null };
    const size = await image.evaluate((one) =>
        one.decode().then(() => [one.naturalWidth, one.naturalHeight]),
    );
    const place = await page.evaluate(
        ([result, gallery]) => {
            const one = document.querySelector(result);
            const other = document.querySelector(gallery);
            return (
                one.parentElement === other.parentElement &&
                one.getBoundingClientRect().bottom <= other.getBoundingClientRect().top + 1
            );
        },
        [RESULT, "#img2img_gallery_container"],
    );
    return { size, place };
}

/** Across the middle. */
const STROKE = Array.from({ length: 11 }, (_, step) => [(10 + step) / 30, 0.5 + 0.008 * step]);

const state = (page) => page.locator(RESULT).first().getAttribute("data-state");
const shots = (page, work) => (name) =>
    work.shots ? page.screenshot({ path: `${work.shots}/${name}.png`, fullPage: true }) : null;

async function prepared(page, work) {
    await ui.uploadBoth(page, work);
    await ui.chooseScript(page);
    await ui.choose(page, `${ui.CONTROL}preset`, "draft");
    await page.waitForTimeout(1000);
    await ui.fields(page, work.fields);
    await ui.prepare(page, work);
}

const SCENARIOS = {
    async modes(page, work) {
        const shot = shots(page, work);
        const found = {};
        await prepared(page, work);
        const before = await page.isVisible(RESULT);
        found.upload = await press(page);
        await shot("upload");
        await page.locator(DRAWING).first().click();
        await page.waitForTimeout(300);
        const large = await page.locator(".msbd-large img").boundingBox();
        await shot("large");
        await page.keyboard.press("Escape");
        for (const [mode, selector] of Object.entries({
            Inpaint: "#img2maskimg",
            "Inpaint sketch": "#inpaint_sketch",
        })) {
            await ui.openMode(page, mode);
            await ui.upload(page, selector, work.picture);
            await page.waitForTimeout(1000);
            await ui.draw(page, selector, STROKE);
            found[mode] = await press(page);
            await page.waitForTimeout(1500);
            found[mode].untouched = await state(page);
            await ui.draw(page, selector, STROKE);
            found[mode].touched = await state(page);
            await shot(mode.replace(" ", "-"));
        }
        await ui.openMode(page, "Batch");
        found.uploads = await press(page);
        await ui.fromDirectory(page);
        found.nothing = await press(page);
        await page.locator("#img2img_batch_input_dir textarea").fill(work.batch);
        await page.locator("#img2img_batch_inpaint_mask_dir textarea").fill(work.masks);
        await page.waitForTimeout(300);
        found.batch = await press(page);
        await shot("batch");
        return { before, large, found };
    },

    async goes(page, work) {
        const shot = shots(page, work);
        await page.goto(`${work.url}/?__theme=dark`);
        await ui.ready(page);
        await prepared(page, work);
        const seen = {};
        await press(page);
        await page.click(`${ui.CONTROL}dry_run_close`);
        await page.waitForTimeout(500);
        seen.closed = await page.isVisible(RESULT);
        await press(page);
        await ui.type(page, `${ui.CONTROL}margin`, 1.6);
        await page.waitForTimeout(500);
        seen.changed = [await state(page), await ui.words(page, TEXT)];
        await shot("old");
        seen.again = await press(page, "dry_run_again");
        seen.againState = await state(page);
        await ui.generate(page);
        await page.waitForTimeout(300);
        seen.generating = await page.isVisible(RESULT);
        await ui.done(page);
        const results = (await ui.results(page)).pictures.length;
        await press(page);
        await shot("over-result");
        seen.kept = (await ui.results(page)).pictures.length === results && results > 0;
        await page.click("#img2img_script_container #script_list input");
        await page.click('ul.options li[aria-label="None"]');
        await page.waitForTimeout(300);
        seen.other = await page.isVisible(RESULT);
        return seen;
    },

    async checkpoint(page, work) {
        await prepared(page, work);
        const before = await press(page);
        const choose = async (name) => {
            await page.click(`${CHECKPOINT} input`);
            await page.locator("ul.options li", { hasText: name }).first().click();
            await page.waitForFunction(
                async (name) =>
                    (await (await fetch("/sdapi/v1/options")).json()).sd_model_checkpoint.includes(name),
                name,
            );
            await page.waitForTimeout(500);
        };
        await choose(work.other);
        // A1111's page hears of it a little later than the program.
        await page
            .waitForSelector(`${RESULT}[data-state="old"]`, { timeout: 20000 })
            .catch(() => null);
        const changed = [await state(page), await ui.words(page, TEXT)];
        const after = await press(page, "dry_run_again");
        await choose(work.first);
        return { before, changed, after };
    },
};

ui.play((page, work) => SCENARIOS[work.scenario](page, work));
