"""Every widget, touched in a real JupyterLab by mouse and by keyboard."""

import re

import numpy as np
import pytest

from nsynth_helpers.analysis.outcomes import extremes, make_outcomes
from nsynth_helpers.settings import PROJECT_ROOT
from nsynth_helpers.training.runs import Run

LOADING = """from sklearn.decomposition import PCA
import nsynth_helpers as ns
from nsynth_helpers.settings import PROJECT_ROOT
from nsynth_helpers.training.runs import Run
settings = ns.Settings.from_environment()
splits = ns.load_splits(settings)
runs = {name: Run(PROJECT_ROOT / "results" / f"mini-{name.lower()}") for name in ("LSTM", "BLSTM")}
outcomes = {name: ns.analysis.make_outcomes(run.predictions()) for name, run in runs.items()}
chosen = ns.analysis.extremes(outcomes["LSTM"])
axes = PCA(2)
states = ns.analysis.note_states(runs["LSTM"].load_network(), runs["LSTM"].config.frames(splits["test"]))
placed = outcomes["LSTM"].assign(**dict(zip("xy", axes.fit_transform(states).T)))"""
WIDGETS = {
    "explorer": 'ns.widgets.NoteExplorer({"test": splits["test"]}, runs=runs)',
    "confusion": 'ns.widgets.ConfusionExplorer(outcomes, splits["test"], runs=runs)',
    "gallery": 'ns.widgets.ExtremesGallery(chosen, splits["test"], "LSTM", runs["LSTM"])',
    "map": 'ns.widgets.NoteMap(placed, axes.explained_variance_ratio_, splits["test"], "LSTM")',
}
# So many epochs that none of a slow browser's clicks comes after the last.
TRAINING = """settings = ns.Settings.from_environment({"NSYNTH_RUNS": "FOLDER"})
config = ns.RunConfig(network_arguments={"hidden_size": 8, "num_layers": 1}, epochs=3000)
run = ns.fit(config, splits, settings, callbacks=[ns.widgets.TrainingMonitor()])"""
# What these keys do to a notebook: Markdown, cells above and below, cut, delete, undo, other cells, merge, run, save.
NOTEBOOK_KEYS = ("m", "y", "b", "a", "x", "d", "d", "z", "c", "v", "j", "k", "r", "1", "ArrowUp", "ArrowDown")


# What reaches beyond the right edge of a view; a wide matrix scrolls, and the table in words is not seen.
CUT_OFF = """view => {
    const edge = view.getBoundingClientRect().right + 1;
    return [...view.shadowRoot.querySelectorAll("*")]
        .filter(e => e.getBoundingClientRect().right > edge && !e.closest(".scroll > *") && !e.closest(".unseen"))
        .map(e => `${e.tagName}.${e.className}: ${e.textContent.slice(0, 60)}`);
}"""

# Whether the canvas has the theme's ground of the probabilities.
DRAWN_IN_THEME = """view => {
    const canvas = view.shadowRoot.querySelector("canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const colour = getComputedStyle(view).getPropertyValue("--quiet");
    const quiet = colour.match(/[0-9a-f]{2}/g).map(hex => parseInt(hex, 16));
    for (let i = 0; i < data.length; i += 4) if (quiet.every((value, k) => data[i + k] === value)) return true;
    return false;
}"""


@pytest.fixture(scope="module")
def page(lab):
    """A notebook with every widget, run."""
    page = lab.open("widgets", [LOADING, *WIDGETS.values(), "# the last cell"])
    yield page
    page.close()


@pytest.fixture
def explorer(page):
    return shown(page, "explorer")


@pytest.fixture
def confusion(page):
    return shown(page, "confusion")


def shown(page, name: str):
    """The widget, scrolled to and with its first note drawn."""
    view = page.locator(".nsynth-note-view").nth(list(WIDGETS).index(name))
    view.scroll_into_view_if_needed()
    view.locator("canvas").first.wait_for()
    view.locator(".play:enabled").first.wait_for()
    return view


def note(view) -> str:
    return view.locator("h3").first.inner_text()


def step(view) -> int:
    return int(view.locator("canvas").first.get_attribute("aria-valuenow"))


def play_to_end(page, view) -> list[int]:
    """The steps that the cursor of a view passes while its sound is played."""
    canvas = view.locator("canvas").first.element_handle()
    canvas.evaluate("""canvas => {
        canvas.passed = [];
        new MutationObserver(() => canvas.passed.push(Number(canvas.getAttribute("aria-valuenow"))))
            .observe(canvas, { attributeFilter: ["aria-valuenow"] });
    }""")
    view.get_by_role("button", name="play").click()
    page.wait_for_function("canvas => canvas.passed.at(-1) === 100", arg=canvas, polling=50)
    return canvas.evaluate("canvas => canvas.passed")


def chosen(view, menu: str) -> str:
    return view.get_by_label(f"{menu} of note A").evaluate("menu => menu.selectedOptions[0].text")


def test_menus_narrow_one_another_by_mouse(explorer):
    explorer.get_by_role("button", name="start again").click()
    assert explorer.locator(".count").inner_text() == "1 of 400 notes"
    explorer.get_by_label("family of note A").select_option("flute")
    assert "flute" in note(explorer)
    instruments = explorer.get_by_label("instrument of note A").locator("option").all_inner_texts()
    assert len(instruments) > 2 and all(name.startswith("flute_") for name in instruments[1:])
    explorer.get_by_label("instrument of note A").select_option(instruments[1])
    count = int(re.match(r"1 of (\d+) note", explorer.locator(".count").inner_text())[1])
    families = explorer.get_by_label("family of note A").locator("option").all_inner_texts()
    assert families == ["all (1)", "flute"], "the instrument leaves one family"
    explorer.get_by_role("button", name="start again").click()
    assert chosen(explorer, "family") == "all (10)" and count < 40


def test_previous_next_and_random(explorer):
    explorer.get_by_role("button", name="start again").click()
    first = note(explorer)
    explorer.get_by_role("button", name="next note").click()
    assert note(explorer) != first and "2 of 400" in explorer.locator(".count").inner_text()
    for _ in range(2):
        explorer.get_by_role("button", name="previous note").click()
    assert "400 of 400" in explorer.locator(".count").inner_text()
    explorer.get_by_role("button", name="next note").click()
    assert note(explorer) == first
    met = set()
    for _ in range(5):
        explorer.get_by_role("button", name="random note").click()
        explorer.locator(".play:enabled").wait_for()  # most of these come from the kernel
        met.add(note(explorer))
    assert len(met) > 1
    explorer.get_by_role("button", name="start again").click()


def test_two_notes_side_by_side_are_chosen_apart(explorer):
    explorer.get_by_label("two notes side by side").check()
    titles = explorer.locator("h3")
    assert titles.count() == 2
    left, before = titles.nth(0).inner_text(), titles.nth(1).inner_text()
    explorer.get_by_role("button", name="next note, note B").click()
    assert titles.nth(0).inner_text() == left and titles.nth(1).inner_text() != before
    boxes = [explorer.locator("canvas").nth(number).bounding_box() for number in (0, 1)]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]
    explorer.get_by_label("two notes side by side").uncheck()
    assert titles.count() == 1


def test_guess_first_then_reveal(explorer):
    explorer.get_by_label("family of note A").select_option("organ")
    explorer.get_by_label("guess first, then reveal the family").check()
    assert note(explorer) == "Which family is it?"
    seen = explorer.locator(".note").inner_text()
    assert "Probability" not in seen and "organ_" not in seen, "nothing gives the family away"
    assert "organ" not in explorer.locator("canvas").first.get_attribute("aria-label")
    explorer.get_by_role("group", name="Which family is it?").get_by_role("button", name="reed").click()
    assert note(explorer).startswith("organ_")
    assert "You said reed; it is organ." in explorer.locator(".facts").inner_text()
    explorer.get_by_label("guess first, then reveal the family").uncheck()
    explorer.get_by_role("button", name="start again").click()


def test_playing_moves_the_cursor_to_the_end(page, explorer):
    canvas = explorer.locator("canvas").first
    canvas.focus()
    page.keyboard.press("Home")
    assert step(explorer) == 1
    passed = play_to_end(page, explorer)
    assert passed == sorted(passed) and any(5 < step < 95 for step in passed), "the cursor follows the sound"
    page.wait_for_function(
        "button => button.textContent.includes('play')", arg=explorer.locator(".play").element_handle()
    )


def test_scrubbing_with_the_mouse(page, explorer):
    canvas = explorer.locator("canvas").first
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 66 + 0.25 * (box["width"] - 66) + 2, box["y"] + 50)
    page.mouse.down()
    assert step(explorer) == 26
    page.mouse.move(box["x"] + 66 + 0.5 * (box["width"] - 66) + 2, box["y"] + 60)
    page.mouse.up()
    assert step(explorer) == 51
    page.mouse.move(box["x"] + 90, box["y"] + 60)
    assert step(explorer) == 51, "the button is up"


def test_the_canvas_by_keyboard(page, explorer):
    canvas = explorer.locator("canvas").first
    canvas.focus()
    for keys, expected in (
        (["Home"], 1),
        (["ArrowRight"] * 3, 4),
        (["ArrowLeft"], 3),
        (["PageUp"], 13),
        (["End"], 100),
    ):
        for key in keys:
            page.keyboard.press(key)
        assert step(explorer) == expected
    whole = canvas.evaluate("canvas => canvas.toDataURL()")
    page.keyboard.press("+")
    zoomed = canvas.evaluate("canvas => canvas.toDataURL()")
    assert zoomed != whole
    page.keyboard.press("0")
    assert canvas.evaluate("canvas => canvas.toDataURL()") == whole
    assert re.match(
        r"step 100 of 100, 1000 ms; LSTM: \w+ [\d.]+ %; BLSTM: \w+ [\d.]+ %", canvas.get_attribute("aria-valuetext")
    )


def tab_through(page, view, first: str) -> None:
    """From the control of this label on, Tab reaches every control that is there."""
    focusable = "button:not(:disabled), select, input, canvas"
    count = view.evaluate(
        f"view => [...view.shadowRoot.querySelectorAll('{focusable}')].filter(e => e.offsetParent).length"
    )
    view.get_by_label(first).focus()
    met = set()
    for _ in range(count):
        met.add(
            view.evaluate("view => [...view.shadowRoot.querySelectorAll('*')].indexOf(view.shadowRoot.activeElement)")
        )
        page.keyboard.press("Tab")
    assert len(met) == count and -1 not in met


def test_every_control_is_reached_by_tab(page, explorer):
    tab_through(page, explorer, "two notes side by side")


def press_keys(lab, page, view) -> None:
    """In every control, keys that would change a notebook leave this one's cells as they were."""
    place = "jupyterapp.shell.currentWidget.content.activeCellIndex"
    view.locator("canvas").first.click()
    before, active = lab.cells(page), page.evaluate(place)
    for control in view.locator(
        "select:visible, button:visible, input:visible, canvas:visible, [role=gridcell][tabindex='0']"
    ).all():
        control.focus()
        for key in NOTEBOOK_KEYS:
            page.keyboard.press(key)
        page.keyboard.press("Escape")
    assert lab.cells(page) == before
    assert page.evaluate(place) == active


@pytest.mark.parametrize("name", WIDGETS)
def test_keys_leave_the_notebook_alone(lab, page, name):
    view = shown(page, name)
    press_keys(lab, page, view)
    if name == "explorer":
        view.get_by_label("guess first, then reveal the family").uncheck()
        view.get_by_label("two notes side by side").uncheck()
        view.get_by_role("button", name="start again").click()


def test_the_same_keys_do_change_a_notebook_outside_a_widget(lab, page):
    """Or else the test above could not fail."""
    page.locator(".jp-Cell").last.locator(".jp-InputPrompt").click()
    before = lab.cells(page)
    page.keyboard.press("b")
    assert len(lab.cells(page)) == len(before) + 1
    page.keyboard.press("d")
    page.keyboard.press("d")
    assert len(lab.cells(page)) == len(before)


def selected(view) -> str:
    return view.locator("[role=gridcell][aria-selected=true]").get_attribute("aria-label")


@pytest.fixture(scope="module")
def outcomes():
    return {
        name: make_outcomes(Run(PROJECT_ROOT / "results" / f"mini-{name.lower()}").predictions())
        for name in ("LSTM", "BLSTM")
    }


@pytest.mark.parametrize("network", ["LSTM", "BLSTM"])
def test_arrows_reach_every_filled_cell_and_no_empty_one(page, confusion, outcomes, network):
    confusion.get_by_label("network").select_option(network)
    cells = outcomes[network].groupby(["family", "predicted"]).size()
    confusion.locator("[role=gridcell][tabindex='0']").focus()
    page.keyboard.press("Home")
    met = []
    for _ in range(len(cells)):
        met.append(selected(confusion))
        page.keyboard.press("ArrowRight")
    expected = [f"{actual} taken for {answer}: {count} note" for (actual, answer), count in cells.items()]
    assert [text.split(",")[0].removesuffix("s") for text in met] == expected
    assert selected(confusion) == met[-1], "behind the last cell there is none"
    for _ in range(9):
        page.keyboard.press("ArrowUp")
    assert selected(confusion).startswith("bass taken for"), "up to the first row"


def test_an_empty_cell_cannot_be_entered(confusion):
    before = selected(confusion), note(confusion)
    empty = confusion.locator("[role=gridcell][aria-disabled=true]").first
    empty.click(force=True)
    assert (selected(confusion), note(confusion)) == before
    assert empty.get_attribute("tabindex") is None


def test_a_cell_shows_its_notes_by_margin_and_both_networks_answers(confusion, outcomes):
    confusion.get_by_label("network").select_option("LSTM")
    lstm, blstm = (outcomes[name].set_index("note_str") for name in ("LSTM", "BLSTM"))
    wrong = lstm[~lstm["correct"]].groupby(["family", "predicted"]).size()
    actual, answer = wrong.idxmax()
    confusion.locator(f"[role=gridcell][aria-label^='{actual} taken for {answer}:']").click()
    cell = lstm[(lstm["family"] == actual) & (lstm["predicted"] == answer)].sort_values("margin", ascending=False)
    lines = confusion.get_by_label("note of the cell").locator("option").all_inner_texts()
    assert lines == [
        f"{i + 1} of {len(cell)}: {name}, margin {margin:.2f}"
        for i, (name, margin) in enumerate(cell["margin"].items())
    ]
    confusion.get_by_role("button", name="next note").click()
    assert note(confusion) == cell.index[1]
    told = confusion.locator(".answers p").first.inner_text()
    other = blstm.loc[cell.index[1]]
    assert f"LSTM: {answer}, wrong by a margin of {cell['margin'].iloc[1]:.2f}" in told
    verdict = "right" if other["correct"] else f"wrong by a margin of {other['margin']:.2f}"
    assert f"BLSTM: {other['predicted']}, {verdict}" in told
    # The last step's belief is the answer.
    shares = dict(
        zip(
            confusion.locator(".answers th[scope=row]").all_inner_texts(),
            confusion.locator(".answers td:nth-child(2)").all_inner_texts(),
            strict=True,
        )
    )
    assert float(shares[answer].strip(" %")) == pytest.approx(100 * cell["probability"].iloc[1], abs=0.6)


def test_shares_are_of_the_true_family(confusion, outcomes):
    confusion.get_by_label("network").select_option("LSTM")
    confusion.get_by_label("cells show").select_option("shares")
    bass = outcomes["LSTM"].query("family == 'bass'")
    cell = confusion.locator("[role=gridcell][aria-label^='bass taken for bass:']")
    assert cell.inner_text() == f"{100 * bass['correct'].mean() + 1e-9:.0f}"
    confusion.get_by_label("cells show").select_option("counts")
    assert cell.inner_text() == str(bass["correct"].sum())


def test_the_gallery_shows_the_extreme_notes(page, outcomes):
    gallery = shown(page, "gallery")
    table = extremes(outcomes["LSTM"]).set_index(["family", "extreme"])["note_str"]
    for family in ("bass", "vocal"):
        gallery.locator(f"[role=gridcell][aria-label^='{family}, highest probability']").click()
        assert note(gallery) == table[family, "highest probability"]
        page.keyboard.press("ArrowRight")
        assert note(gallery) == table[family, "lowest probability"]
        assert gallery.locator(".told").inner_text() == f"{family}: lowest probability"


@pytest.fixture
def note_map(page):
    return shown(page, "map")


def told(note_map) -> str:
    return note_map.locator(".told").inner_text()


def test_the_map_by_keyboard(page, note_map, outcomes):
    table = outcomes["LSTM"].set_index("note_str")
    note_map.get_by_label("hear the note under the pointer").focus()
    page.keyboard.press("Shift+Tab")
    active = note_map.evaluate("view => view.shadowRoot.activeElement.className")
    assert active == "map", "Tab reaches it"
    met = []
    for key in ("ArrowRight",) * 4 + ("ArrowDown", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        met.append(told(note_map))
    assert len(set(met)) > 4
    name, _, rest = met[-1].partition(": ")
    answer = table.loc[name]
    says = "right" if answer["correct"] else f"taken for {answer['predicted']}"
    assert rest.startswith(f"{says}, {100 * answer['probability']:.0f}"[: len(says) + 3])
    assert note(note_map) != name
    page.keyboard.press("Enter")
    assert note(note_map) == name
    for _ in range(60):
        page.keyboard.press("ArrowLeft")
    assert told(note_map) != met[-1], "to the western edge, where it stays"
    before = told(note_map)
    page.keyboard.press("ArrowLeft")
    assert told(note_map) == before


def test_the_map_by_mouse(page, note_map):
    canvas = note_map.locator("canvas.map")
    note_map.get_by_role("button", name="mallet").click()
    box = canvas.bounding_box()
    names = set()
    for share in np.linspace(0.02, 0.98, 40):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 0.08 * box["height"])
        names.add(told(note_map).split("_")[0])
    assert "mallet" in names and len(names) <= 2, "the others are pale and not met"
    canvas.focus()
    page.keyboard.press("ArrowDown")
    name = told(note_map).split(":")[0]
    assert name.startswith("mallet_")
    note_map.get_by_role("button", name="mallet").click()
    page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + 0.2 * box["height"])
    assert note(note_map) == told(note_map).split(":")[0]
    note_map.locator(".play:enabled").wait_for()


def test_the_page_does_not_jump(page, confusion):
    scroller = ".jp-WindowedPanel-outer"
    confusion.locator("[role=gridcell][tabindex='0']").focus()
    page.wait_for_timeout(300)
    before = page.eval_on_selector(scroller, "panel => panel.scrollTop")
    heights = set()
    for key in ["ArrowRight", "ArrowDown", "ArrowRight", "ArrowUp"] * 3:
        page.keyboard.press(key)
        page.wait_for_timeout(50)
        heights.add(confusion.evaluate("view => view.offsetHeight"))
    confusion.locator("[role=gridcell].filled").first.click()
    assert page.eval_on_selector(scroller, "panel => panel.scrollTop") == pytest.approx(before, abs=1)
    assert len(heights) == 1, "the view keeps its height"


def test_times_of_an_answer_are_reported(page, shots, record_property):
    """From a key or click to the picture after it; reported, as a busy machine may take any time."""
    measure = """async (view, [selector, key]) => {
        const control = view.shadowRoot.querySelector(selector), start = performance.now();
        if (key) control.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        else control.click();
        return new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now() - start))));
    }"""
    acts = {
        "next note": ("explorer", '[aria-label^="next note"]', None),
        "one step of the cursor": ("explorer", "canvas", "ArrowLeft"),
        "next cell of the matrix": ("confusion", '[aria-selected="true"]', "ArrowLeft"),
        "next cell of the gallery": ("gallery", '[aria-selected="true"]', "ArrowRight"),
        "next note of the map": ("map", "canvas.map", "ArrowRight"),
        "a note of the map opened": ("map", "canvas.map", "Enter"),
    }
    lines = []
    for name, (widget, selector, key) in acts.items():
        times, view = [], shown(page, widget)
        for _ in range(8):
            times.append(view.evaluate(measure, [selector, key]))
            page.wait_for_timeout(300)
        lines.append(f"{name}: {np.median(times):.0f} ms, at most {max(times):.0f} ms")
        record_property(name, f"{np.median(times):.0f} ms")
    (shots / "times.txt").write_text("\n".join(lines) + "\n")
    print(*lines, sep="\n")


@pytest.mark.parametrize("slower", [1, 2.5])
def test_a_reloaded_page_finds_its_widgets_alive(lab, page, slower):
    processor = page.context.new_cdp_session(page)
    processor.send("Emulation.setCPUThrottlingRate", {"rate": slower})
    lab.reload(page, "widgets.ipynb")
    view = shown(page, "explorer")
    processor.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    before = note(view)
    for _ in range(3):
        view.get_by_role("button", name="random note").click()
        view.locator(".play:enabled").first.wait_for()
    assert note(view) != before or "of 400" in view.locator(".count").inner_text()
    assert view.locator(".message").first.inner_text() == ""


def test_stop_button_and_interrupt_end_a_training_in_one_sentence_and_the_cell_goes_on(lab, page):
    page.evaluate(
        """source => {
            const { content } = jupyterapp.shell.currentWidget;
            content.model.sharedModel.addCell({ cell_type: "code", source });
            content.activeCellIndex = content.model.sharedModel.cells.length - 1;
        }""",
        TRAINING.replace("FOLDER", str(lab.folder / "runs")),
    )
    cell = page.locator(".jp-Cell").last
    view = cell.locator(".nsynth-note-view")
    stop = view.get_by_role("button", name="stop after this epoch")
    kernel = page.get_by_role("menuitem", name="Kernel", exact=True)
    interrupt = page.get_by_role("menuitem", name="Interrupt Kernel")  # its name goes on with its keys
    done = 0
    for clicks in ([stop], [kernel, interrupt], [stop]):
        page.evaluate("window.run = jupyterapp.commands.execute('notebook:run-cell'), null")
        # The head of the table, the epochs of before, and at least one more.
        view.locator(".unseen tr").nth(done + 1).wait_for(state="attached")
        view.get_by_text(re.compile(r" of 3000 epochs done, .* left")).wait_for()
        for button in clicks:
            button.click()
        told = view.get_by_text(re.compile(r"stopped after \d+ of 3000 epochs; run the cell again to go on"))
        told.wait_for()
        before, done = done, int(re.search(r"after (\d+) of", told.inner_text())[1])
        assert before < done < 3000, "it goes on from there"
        assert view.locator(".unseen tr").count() - 1 == done
        sentence = f"stopped after epoch {done} of 3000; run it again to go on"
        cell.get_by_text(sentence).wait_for()
        page.evaluate("window.run")  # until its reply: what is run between an error and its reply, the kernel drops
        display, error = lab.cells(page)[-1]["outputs"]
        assert display["output_type"] == "display_data" and error["traceback"] == [sentence]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_wide_and_narrow_pages_in_both_themes(lab, page, shots, theme):
    name = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}[theme]
    page.evaluate(f"jupyterapp.commands.execute('apputils:change-theme', {{theme: '{name}'}})")
    page.wait_for_function(f"document.body.dataset.jpThemeLight === '{str(theme == 'light').lower()}'")
    page.evaluate("jupyterapp.shell.collapseLeft()")
    for width in (1400, 390):
        page.set_viewport_size({"width": width, "height": 1900})
        for widget in WIDGETS:
            view = shown(page, widget)
            page.wait_for_timeout(200)
            assert view.evaluate(CUT_OFF) == [], f"{widget} at {width} pixels"
            dark = view.evaluate("view => getComputedStyle(view).getPropertyValue('color-scheme')")
            assert dark == theme
            assert view.evaluate(DRAWN_IN_THEME), f"{widget} is drawn in the colours of the other theme"
            view.screenshot(path=shots / f"lab-{widget}-{theme}-{width}.png")
    page.set_viewport_size({"width": 1400, "height": 1000})
