"""Small sources of reports for tests, one writer for each format."""

import base64
import json

TEXTS = ["FINDINGS: No effusion.\nIMPRESSION: Normal.", "Small left effusion, müde Lunge.", "Edema & cardiomegaly."]


def openi(number, *parts, language="eng"):
    """An Open-i file; parts are (label, text)."""
    told = "".join(f'<AbstractText Label="{label}">{text}</AbstractText>' for label, text in parts)
    return (
        f'<?xml version="1.0" encoding="utf-8"?><eCitation><uId id="CXR{number}"/><MedlineCitation><Article>'
        f"<Abstract>{told}</Abstract><Language>{language}</Language></Article></MedlineCitation></eCitation>"
    )


def oru(*groups, patient="P1^^^NGH&1.2&ISO^MR", kind="ORU^R01", charset="UNICODE UTF-8"):
    """An ORU^R01 message as segments; each group is the segments from its ORC or OBR on."""
    return [
        rf"MSH|^~\&|RIS|NGH|||20240131101500||{kind}|1|P|2.5||||||{charset}".rstrip("|"),
        f"PID|1||{patient}",
        *(segment for group in groups for segment in group),
    ]


def obr(accession="A1", *, seen="20240131093000", changed="20240131120000", status="F"):
    fields = [""] * 26
    fields[0], fields[7], fields[18], fields[22], fields[25] = "OBR", seen, accession, changed, status
    return "|".join(fields)


def obx(value, *, type="TX", identifier="71020^Chest", status="F"):
    return f"OBX|1|{type}|{identifier}||{value}||||||{status}"


def diagnostic_report(**fields):
    return {"resourceType": "DiagnosticReport", "status": "final", **fields}


def attached(text, kind="text/plain", encoding="utf-8"):
    return {"contentType": kind, "data": base64.b64encode(text.encode(encoding)).decode()}


def ndjson(path, *resources):
    path.write_text("".join(json.dumps(resource) + "\n" for resource in resources), encoding="utf-8")
    return path
