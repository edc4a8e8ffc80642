() => {
  const found = {covered: [], overlaps: [], struck: [], small: [], outside: [], faint: [], texts: 0, height: document.documentElement.scrollHeight, wide: document.documentElement.scrollWidth};
  // what an element shows of a box, inside of everything that clips
  const clipped = (box, element) => {
    let {left, top, right, bottom} = box;
    for (let e = element; e && e !== document.documentElement; e = e.parentElement) {
      if (e instanceof SVGElement && !(e instanceof SVGSVGElement)) continue;
      const style = getComputedStyle(e);
      if (style.display === "inline" || (style.overflowX === "visible" && style.overflowY === "visible")) continue;
      const around = e.getBoundingClientRect();
      left = Math.max(left, around.left); top = Math.max(top, around.top); right = Math.min(right, around.right); bottom = Math.min(bottom, around.bottom);
    }
    return {left, top, right, bottom};
  };
  const scale = (element) => { const m = element.getScreenCTM?.(); return m ? Math.hypot(m.a, m.b) : 1; };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), texts = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement, words = node.textContent.trim();
    if (!words || element.closest("script, style, title, desc, noscript, option, .unseen") || !element.checkVisibility({visibilityProperty: true})) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rect of range.getClientRects()) {
      const box = clipped(rect, element);
      if (box.right - box.left > 2 && box.bottom - box.top > 4) texts.push({...box, element, words: words.slice(0, 60), whole: rect});
    }
    const size = parseFloat(getComputedStyle(element).fontSize) * scale(element);
    if (size < 8.9) found.small.push(`${words}: ${size.toFixed(1)} px`);
  }
  found.texts = texts.length;
  // texts on texts, from above to below
  texts.sort((a, b) => a.top - b.top);
  for (let i = 0; i < texts.length; i++) {
    for (let k = i + 1; k < texts.length && texts[k].top < texts[i].bottom - 2; k++) {
      const [a, b] = [texts[i], texts[k]];
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1.5 && Math.min(a.bottom, b.bottom) - b.top > 3) found.overlaps.push(`${a.words} / ${b.words}`);
    }
  }
  const every = Object.assign(document.createElement("style"), {textContent: "* { pointer-events: auto !important; }"});
  document.head.append(every);
  for (const text of texts) {
    // what lies on a text: what is found in its middle must be its own element, or around it, or in it
    const [x, y] = [(text.left + text.right) / 2, (text.top + text.bottom) / 2];
    const top = document.elementFromPoint(x, y);
    if (top && top !== text.element && !top.contains(text.element) && !text.element.contains(top)) found.covered.push(`${text.words} by ${top.tagName} ${top.className.baseVal ?? top.className}`);
    if (text.right > innerWidth + 1 || text.left < -1) found.outside.push(text.words);
  }
  every.remove();
  // lines of pictures, and marks of budgets, on texts
  const strikes = (x, y, what) => {
    for (const t of texts) if (x > t.left + 1 && x < t.right - 1 && y > t.top + 2.5 && y < t.bottom - 2.5) { found.struck.push(`${t.words} by ${what}`); return true; }
    return false;
  };
  for (const shape of document.querySelectorAll("svg path, svg line, svg polyline, svg rect.frame, svg .tick")) {
    if (!shape.checkVisibility()) continue;
    const style = getComputedStyle(shape), drawn = style.stroke !== "none" || shape.classList.contains("tick");
    if (!drawn || shape.closest("defs")) continue;
    const m = shape.getScreenCTM(), length = shape.getTotalLength(), steps = Math.min(2000, Math.max(8, Math.ceil((length * Math.hypot(m.a, m.b)) / 2)));
    for (let i = 0; i <= steps; i++) {
      const p = shape.getPointAtLength((length * i) / steps).matrixTransform(m);
      if (strikes(p.x, p.y, `${shape.tagName} ${shape.className.baseVal}`)) break;
    }
  }
  for (const mark of document.querySelectorAll(".bars u")) {
    const box = mark.getBoundingClientRect();
    if (box.width) strikes((box.left + box.right) / 2, (box.top + box.bottom) / 2, "budget");
  }
  // contrast of texts with what is behind them
  const colour = (text) => { const c = document.createElement("canvas").getContext("2d"); c.fillStyle = text; c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data]; };
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const cache = {}, known = (text) => (cache[text] ??= colour(text));
  for (const text of texts) {
    const inside = text.element.closest("svg");
    let behind = null;
    for (let e = inside ? inside.parentElement : text.element; e && !behind; e = e.parentElement) { const c = known(getComputedStyle(e).backgroundColor); if (c[3] > 200) behind = c; }
    const style = getComputedStyle(text.element), [a, b] = [light(known(inside ? style.fill : style.color)), light(behind ?? [255, 255, 255])];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.4 && !text.element.classList.contains("on")) found.faint.push(`${text.words}: ${contrast.toFixed(1)}`);
  }
  return found;
}
