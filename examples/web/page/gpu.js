// The visitor's GPU.

/// Opens it, with what the browser tells of it.
export async function open(dimer) {
    const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
    const { vendor, architecture, description } = adapter?.info ?? {};
    return dimer.Device.open(description || [vendor, architecture].filter(Boolean).join(" "));
}
