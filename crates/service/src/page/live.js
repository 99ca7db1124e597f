// Keeps a visible page up to date: parts marked data-part are fetched again every data-refresh milliseconds, and a log
// marked data-follow grows as the task prints. The page also works without this script.
"use strict";

(() => {
  const keptCharacters = 1 << 20;
  // As the server shows user text: characters that would reorder or hide a part of it become visible.
  const harmful = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;
  const picture = (c) => {
    const code = c.charCodeAt(0);
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : `\\u{${code.toString(16)}}`;
  };
  const shown = (text) =>
    text.replace(/\u001b\[[0-?]*[ -/]*[@-~]/g, "").replace(/\r\n?/g, "\n").replace(harmful, picture);
  let refreshing = false;

  const interval = () => {
    const asked = [...document.querySelectorAll("[data-refresh]")].map((part) => Number(part.dataset.refresh));
    return asked.length ? Math.min(...asked) : 0;
  };

  const isInUse = (part) => part.contains(document.activeElement) && document.activeElement !== document.body;

  async function refresh() {
    if (refreshing) return;
    refreshing = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, signal: AbortSignal.timeout(10000) });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.title = fresh.title;
      for (const part of document.querySelectorAll("[data-part]")) {
        const other = fresh.getElementById(part.id);
        if (other && other.outerHTML !== part.outerHTML && !isInUse(part)) part.replaceWith(document.adoptNode(other));
      }
    } catch {
      // The service does not answer; the next attempt may.
    } finally {
      refreshing = false;
    }
  }

  function loop() {
    const pause = interval();
    if (!pause) return;
    setTimeout(async () => {
      if (!document.hidden) await refresh();
      loop();
    }, pause);
  }

  function follow(log) {
    const events = new EventSource(log.dataset.follow);
    let begun = false;
    let kept = 0;
    const append = (kind) => (event) => {
      const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
      // The stream starts from the beginning, so remove what the server put here.
      if (!begun) log.replaceChildren();
      begun = true;
      const piece = document.createElement("span");
      piece.className = kind;
      piece.textContent = shown(JSON.parse(event.data));
      kept += piece.textContent.length;
      log.append(piece);
      while (kept > keptCharacters && log.childNodes.length > 1) {
        kept -= log.firstChild.textContent.length;
        log.firstChild.remove();
      }
      if (atEnd) log.scrollTop = log.scrollHeight;
    };
    events.addEventListener("stdout", append("stdout"));
    events.addEventListener("stderr", append("stderr"));
    events.addEventListener("end", () => {
      events.close();
      const nothing = log.querySelector(".none");
      if (nothing) nothing.textContent = "Nothing was printed.";
      refresh();
    });
  }

  for (const log of document.querySelectorAll("[data-follow]")) follow(log);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && interval()) refresh(); });
  loop();
})();
