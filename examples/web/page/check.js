// The checks, in a worker of their own, so that the page goes on and a panic there ends nothing here.

export function showCheck() {
    const find = (id) => document.getElementById(id);
    const [check, copy, progress, told, report] = ["check", "copy", "progress", "checked", "report"].map(find);
    let text = "";

    function finish(words, markdown, error) {
        check.disabled = false;
        progress.hidden = true;
        told.textContent = words;
        find("check-error").textContent = error;
        text = markdown;
        copy.disabled = !text;
        copy.textContent = "Copy the report";
        report.hidden = !text;
        report.replaceChildren(...shown(text));
    }

    check.addEventListener("click", () => {
        check.disabled = copy.disabled = true;
        progress.hidden = false;
        progress.removeAttribute("value");
        report.hidden = true;
        find("check-error").textContent = "";
        told.textContent = "Opening the GPU …";
        let last = null;
        const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
        const end = (...words) => {
            worker.terminate();
            finish(...words);
        };
        const broken = (error) => {
            const soFar = last ? `**FAILED: ${last.what}: ${error.replace(/\s+/g, " ")}**\n\n${last.soFar}` : "";
            end("", soFar, error);
        };
        worker.onerror = (event) => {
            event.preventDefault();
            broken(event.message || "The check could not be loaded.");
        };
        worker.onmessage = ({ data }) => {
            if (data.error) {
                broken(data.error);
            } else if (data.markdown) {
                end(data.passes ? "All checks passed." : "A check failed; see below.", data.markdown, "");
            } else {
                last = data;
                told.textContent = `${data.what} (${data.done + 1} of ${data.all}) …`;
                progress.max = data.all;
                progress.value = data.done;
            }
        };
    });

    copy.addEventListener("click", async () => {
        try {
            await navigator.clipboard.writeText(text);
            copy.textContent = "Copied";
        } catch {
            // A page that may not write there can still show what to copy.
            const area = document.createElement("textarea");
            area.value = text;
            area.rows = 20;
            area.setAttribute("aria-label", "The report as Markdown");
            report.replaceChildren(...shown(text), area);
            area.select();
        }
    });
}

/// Elements that show the Markdown of a report: paragraphs and tables.
function shown(text) {
    return text.split("\n\n").map((block) => {
        const lines = block.trim().split("\n");
        if (!lines[0].startsWith("|")) {
            const paragraph = document.createElement("p");
            lines.forEach((line, i) => paragraph.append(...(i > 0 ? [document.createElement("br")] : []), ...styled(line)));
            return paragraph;
        }
        const table = document.createElement("table");
        const [head, kinds, ...rows] = lines.map((line) => line.slice(1, -1).split("|").map((cell) => cell.trim()));
        const add = (cells, row, tag) => {
            cells.forEach((cell, i) => {
                const element = row.appendChild(document.createElement(tag));
                element.append(...styled(cell));
                if (tag === "td" && kinds[i].endsWith(":")) element.className = "right";
            });
        };
        add(head, table.createTHead().insertRow(), "th");
        const body = table.createTBody();
        rows.forEach((cells) => add(cells, body.insertRow(), "td"));
        return table;
    });
}

/// Text, of which every second part between double asterisks is bold.
function styled(line) {
    return line.split("**").map((part, i) => {
        if (i % 2 === 0) return part;
        const bold = document.createElement("strong");
        bold.textContent = part;
        return bold;
    });
}
