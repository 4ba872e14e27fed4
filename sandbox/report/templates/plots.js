// Draws the figures of the page one by one, beginning with those near the screen, and marks each when it is drawn.
(() => {
  "use strict";
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const config = {
    displaylogo: false,
    displayModeBar: "hover",
    modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"], // nothing leaves the page
    plotlyServerURL: "",
    doubleClick: "reset",
  };

  const places = [...document.querySelectorAll("div[data-plot]")];
  const waiting = new Set(places);

  function width(place) {
    return Math.max(place.parentElement.clientWidth, plots[place.dataset.plot].figure.layout.meta?.narrowest ?? 0);
  }

  // Leaves room for a legend of one column, which is the tallest that it can be.
  function roomy(place) {
    const { data, layout } = plots[place.dataset.plot].figure;
    const tall = layout.showlegend ? 24 * (data.filter((trace) => trace.showlegend !== false).length + 1) : 0;
    return { width: width(place), height: layout.height + tall, "margin.b": layout.margin.b + tall };
  }

  // Gives the legend the height that it needs; the axes above keep theirs.
  function fitted(place) {
    const { layout } = plots[place.dataset.plot].figure;
    const tall = Math.ceil(Number(place.querySelector(".legend .bg")?.getAttribute("height") ?? 0)) + 8;
    return { height: layout.height + tall, "margin.b": layout.margin.b + tall };
  }

  async function fit(place) {
    await Plotly.relayout(place, roomy(place));
    if (place.layout.showlegend) await Plotly.relayout(place, fitted(place));
  }

  async function draw(place) {
    waiting.delete(place);
    const { figure } = plots[place.dataset.plot];
    const { width, height, "margin.b": b } = roomy(place);
    const layout = { ...figure.layout, width, height, margin: { ...figure.layout.margin, b } };
    await Plotly.newPlot(place, figure.data, layout, config);
    if (layout.showlegend) await Plotly.relayout(place, fitted(place));
    place.dataset.drawn = "true";
    performance.mark(place.id);
  }

  function choose(event) {
    const place = document.getElementById(`plot-${event.target.dataset.plot}`);
    const choice = plots[place.dataset.plot].choices[event.target.value];
    place.closest("figure").querySelector(".message").textContent = choice.message;
    Plotly.update(place, choice.data, choice.layout);
  }

  // Whether a plot is on the screen, or at most one screen below it.
  function near(place) {
    const { top, bottom } = place.getBoundingClientRect();
    return top < 2 * window.innerHeight && bottom > 0;
  }

  async function all() {
    while (waiting.size > 0) {
      const next = [...waiting].find(near);
      if (!next) performance.mark("opened"); // the first of these marks counts
      await draw(next ?? [...waiting][0]).catch(console.error); // a plot that fails does not stop the others
      await new Promise((resolve) => setTimeout(resolve));
    }
    performance.mark("opened");
    document.documentElement.dataset.drawn = "true";
  }

  let resized;
  window.addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => places.filter((place) => place.dataset.drawn).forEach(fit), 100);
  });
  window.addEventListener("beforeprint", () => [...waiting].forEach((place) => draw(place).catch(console.error)));
  document.querySelectorAll("select[data-plot]").forEach((select) => select.addEventListener("change", choose));
  all();
})();
