// The checks, in a worker of their own, so that the page goes on and a panic there ends nothing here.

export function showCheck() {
    const find = (id) => document.getElementById(id);
    const [check, copy, progress, told, report] = ["check", "copy", "progress", "checked", "report"].map(find);
    let text = "";

    function finish(error) {
        check.disabled = false;
        progress.hidden = true;
        if (!error) return;
        told.textContent = "";
        find("check-error").textContent = error;
    }

    check.addEventListener("click", () => {
        check.disabled = copy.disabled = true;
        progress.hidden = false;
        progress.value = 0;
        report.hidden = true;
        find("check-error").textContent = "";
        told.textContent = "Opening the GPU …";
        const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
        worker.onerror = (event) => {
            event.preventDefault();
            worker.terminate();
            finish(event.message || "The check could not be loaded.");
        };
        worker.onmessage = ({ data }) => {
            if (data.what) {
                told.textContent = `${data.what} (${data.done + 1} of ${data.all}) …`;
                progress.max = data.all;
                progress.value = data.done;
                return;
            }
            worker.terminate();
            finish(data.error);
            if (!data.report) return;
            text = data.report;
            told.textContent = text.includes("All checks passed") ? "All checks passed." : "A check failed; see below.";
            copy.disabled = false;
            copy.textContent = "Copy the report";
            report.replaceChildren(...shown(text));
            report.hidden = false;
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
            report.replaceChildren(area);
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
