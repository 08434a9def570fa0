function recolour(node) {
  const dark = {table};
  const colour = /#[0-9a-f]{6}\b|rgba?\([^)]*\)|(?<=^|px |:\s*)white(?=$|[,;"'])/gi;
  function swap(found, inText) {
    const key = found.toLowerCase().replaceAll(" ", "");
    const rgb = key.match(/^rgba?\((\d+),(\d+),(\d+)(?:,([\d.]+))?\)$/);
    if (!rgb) return inText && key === "white" ? "{white}" : dark[key] ?? found;
    const other = dark["#" + rgb.slice(1, 4).map((v) => (+v).toString(16).padStart(2, "0")).join("")];
    return other ? `rgba(${[1, 3, 5].map((at) => parseInt(other.slice(at, at + 2), 16))},${rgb[4] ?? 1})` : found;
  }
  function map(node, inText) {
    if (typeof node === "string") return node.replace(colour, (found) => swap(found, inText));
    if (!node || typeof node !== "object" || ArrayBuffer.isView(node) || node instanceof ArrayBuffer) return node;
    if (Array.isArray(node)) {
      const mapped = node.map((value) => map(value, inText));
      return mapped.every((value, i) => Object.is(value, node[i])) ? node : mapped;
    }
    const inside = (key) => key !== "shadow" && (inText || key.endsWith("font"));
    return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, map(value, inside(key))]));
  }
  return map(node, false);
}
