(() => {
  const content = document.getElementById("content");
  const renew = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      content.replaceChildren(...fresh.getElementById("content").childNodes);
      document.title = fresh.title;
    } catch {
      document.title = "Keepscope · not answering";
    }
  };
  setInterval(renew, 1000 * content.dataset.refresh);
  document.addEventListener("visibilitychange", renew);
})();
