(() => {
  const page = document.getElementById("page");
  const silence = document.getElementById("silence");
  const waiting = document.getElementById("waiting");
  const every = 1000 * page.dataset.refresh;
  let answered = new Date(), asked = 0;

  // patch makes a node like another, and touches only what differs: what is selected,
  // focused, typed or opened stays so.
  const patch = (node, like) => {
    if (node.nodeType !== Node.ELEMENT_NODE) {
      if (node.data !== like.data) node.data = like.data;
      return;
    }
    for (const { name } of [...node.attributes])
      if (!like.hasAttribute(name) && name !== "open") node.removeAttribute(name);
    for (const { name, value } of like.attributes)
      if (node.getAttribute(name) !== value) node.setAttribute(name, value);
    const named = new Map([...node.children].filter((e) => e.id).map((e) => [e.id, e]));
    let next = node.firstChild;
    for (const want of [...like.childNodes]) {
      let have = want.id ? named.get(want.id) : next && !next.id && next.nodeName === want.nodeName && next;
      if (!have) have = document.importNode(want, true);
      if (have === next) next = next.nextSibling;
      else node.insertBefore(have, next);
      patch(have, want);
    }
    while (next) {
      const after = next.nextSibling;
      next.remove();
      next = after;
    }
  };

  const selecting = () => {
    const s = getSelection();
    return !s.isCollapsed && page.contains(s.anchorNode);
  };

  // renew shows what an address has now. What a visitor asked for does not wait.
  const renew = async (wanted) => {
    const turn = ++asked;
    waiting.hidden = true;
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (!answer.ok && answer.status !== 404) throw new Error(answer.statusText);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (turn !== asked) return;
      answered = new Date();
      silence.hidden = true;
      waiting.hidden = wanted || !selecting();
      if (!waiting.hidden) return;
      const focused = document.activeElement;
      patch(page, fresh.getElementById("page"));
      if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
      document.title = fresh.title;
    } catch {
      if (turn !== asked) return;
      silence.textContent = `No answer since ${answered.toLocaleTimeString()}: the figures are of then.`;
      silence.hidden = false;
      document.title = "Keepscope · not answering";
    }
  };

  const go = (address, keep) => {
    history[keep ? "replaceState" : "pushState"](null, "", address);
    renew(true);
  };

  document.addEventListener("click", (e) => {
    const link = e.target.closest("a[data-live]");
    if (!link || e.button || e.ctrlKey || e.metaKey || e.shiftKey || e.altKey) return;
    e.preventDefault();
    go(link.href);
  });
  const filtered = (form) => {
    const query = new URLSearchParams(new FormData(form));
    for (const [name, value] of [...query]) if (!value) query.delete(name);
    return form.action + (query.size ? "?" + query : "");
  };
  document.addEventListener("submit", (e) => {
    if (!e.target.matches("form[data-live]")) return;
    e.preventDefault();
    go(filtered(e.target), true);
  });
  let typed;
  document.addEventListener("input", (e) => {
    const form = e.target.closest("form[data-live]");
    if (!form) return;
    clearTimeout(typed);
    typed = setTimeout(() => go(filtered(form), true), 150);
  });
  addEventListener("popstate", () => {
    const filter = document.getElementById("filter");
    if (filter) filter.value = new URLSearchParams(location.search).get("filter") || "";
    renew(true);
  });
  if (every) {
    setInterval(() => document.hidden || renew(), every);
    document.addEventListener("visibilitychange", () => document.hidden || renew());
  }
})();
