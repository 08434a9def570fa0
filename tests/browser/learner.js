({ // The page's half of learner.py.
  watch() { // keep the texts of all alerts, also of those that are shown only for a moment
    window.samvizAlerts = [];
    const read = () => document.querySelectorAll('.samviz-card [role=alert]').forEach((node) => {
      const text = node.checkVisibility() ? node.textContent : '';
      if (text && node.samvizText !== text) window.samvizAlerts.push(text);
      node.samvizText = text;
    });
    new MutationObserver(read).observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
  },

  nodes: (card) => [...card.querySelectorAll('button, input, select, summary, a[href], .samviz-graph')],

  find(card) { // every control of a card: its name, its value, and the control that must be pressed before it can be used
    const nodes = this.nodes(card);
    const label = (node) => (node.ariaLabel || [...(node.labels ?? [])].map((each) => each.textContent).join()
      || node.dataset.title || node.textContent).replace(/[▶❚]/g, '').trim().replace('Pause', 'Play').replace('Stop recording', 'Film');
    const role = (node) => node.getAttribute('aria-roledescription')
      ?? (node.matches('.samviz-graph') ? 'graph' : node.type || node.localName);
    const counts = {};
    const numbered = (name) => ((counts[name] = (counts[name] ?? 0) + 1) > 1 ? `${name} ${counts[name]}` : name);
    const button = (text) => nodes.find((node) => node.localName === 'button' && node.textContent.startsWith(text));
    const dialog = card.querySelector('[role=dialog]'), closes = dialog && [...dialog.querySelectorAll('button')].filter((each) => each.checkVisibility()).at(-1);
    const covered = (node) => Boolean(closes) && !dialog.contains(node);
    const opener = (node) => {
      if (covered(node)) return closes;
      if (node.disabled) return button('Skip');
      const hidden = []; // what must be shown, from the outside to the inside
      for (let each = node; each !== card; each = each.parentElement) {
        if (each.matches('details:not([open])') && node.localName !== 'summary') hidden.unshift(each.querySelector('summary'));
        const by = each.id && !each.checkVisibility() && card.querySelector(`[aria-controls="${each.id}"]`);
        if (by) hidden.unshift(by);
      }
      if (hidden.length) return hidden[0];
      return ['Skip', 'Predict again'].map(button).find((each) => each?.checkVisibility());
    };
    return nodes.map((node, index) => {
      const usable = !node.disabled && node.checkVisibility() && !covered(node);
      return {
        index, name: numbered(`${role(node)} ${label(node)}`), label: label(node).replace(', typed', ''), role: role(node), usable,
        opener: usable ? -1 : nodes.indexOf(opener(node)),
        options: [...(node.options ?? [])].filter(({ disabled }) => !disabled).map(({ value }) => value),
        value: node.hasAttribute('aria-invalid') || node.localName === 'button' ? null : node.type === 'checkbox' ? node.checked : node.getAttribute('aria-valuetext') ?? node.value,
      };
    });
  },

  look(card) { // what the card shows
    const status = card.querySelector('.samviz-status, .samviz-sentence').textContent, html = card.innerHTML;
    const at = html.search(/\b(NaN|Infinity|undefined|nan|inf)\b/);
    return {
      alerts: window.samvizAlerts.splice(0), status, wrong: at < 0 ? '' : html.slice(Math.max(0, at - 80), at + 40),
      alert: card.querySelector('.samviz-alert').textContent, asks: Boolean(card.querySelector('.samviz-predict')?.checkVisibility()),
      playing: (card.querySelector('.samviz-play')?.textContent ?? '').includes('Pause'),
    };
  },
})
