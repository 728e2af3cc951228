"""The words of reports in English: headings, signatures, abbreviations, fillers. Another language is another file."""

import re

HEADINGS: dict[str, tuple[str, ...]] = {
    "findings": (
        "findings?",
        "findings? ?(?:and|&|/|-) ?(?:impressions?|conclusions?|opinions?|interpretation)",
        "findings? ?(?:and|&|/|-) ?(?:assessment|summary|diagnos[ie]s)",
        "(?:impressions?|conclusions?|opinions?|interpretation) ?(?:and|&|/|-) ?findings?",
        "description(?: of findings)?",
        "observations?",
        "results?",
        "report",
        "body of report",
    ),
    "impression": (
        "impressions?",
        "impressions? ?(?:and|&|/) ?(?:recommendations?|plan)",
        "impressions?/(?:conclusions?|opinion)",
        "conclusions?",
        "conclusions? ?(?:and|&|/) ?recommendations?",
        "opinions?",
        "(?:final |radiological )?diagnos[ie]s",
        "summary(?: of findings)?",
        "assessment",
        "interpretation",
    ),
    "indication": (
        "indications?",
        "(?:clinical|exam(?:ination)?|study) indications?",
        "indications? ?(?:and|&|/|for) ?(?:clinical )?(?:history|exam(?:ination)?|study|procedure)",
        "reasons? for (?:the )?(?:exam(?:ination)?|study|test|visit|referral|request|this exam(?:ination)?|consult)",
        "reason",
        "clinical (?:information|info|data|details?|statement|question|indications?|impressions?|findings?|diagnosis"
        "|presentation|context|notes?|concern|problem|background|symptoms?)",
        "clinical",
        "(?:admitting|admission|provisional|working|referring|referral|presumptive|differential) diagnos[ie]s",
        "(?:chief|presenting) complaints?",
        "symptoms?",
        "(?:signs?|symptoms?) ?(?:and|&|/) ?(?:signs?|symptoms?)",
        "question(?:s)?(?: to be answered)?",
        "rule out",
    ),
    "history": (
        "(?:(?:clinical|medical|patient|relevant|brief|pertinent|past medical|surgical|present|additional) )?history",
        "history ?(?:and|&|/) ?(?:indications?|reason for (?:exam|study))",
        "clinical history ?(?:and|&|/) ?(?:indications?|information|reason for (?:exam|study))",
        "history of present illness",
        "hx",
    ),
    "technique": (
        "techniques?",
        "(?:imaging |ct |mri? |scan(?:ning)? |exam(?:ination)? )?(?:techniques?|protocols?)",
        "(?:procedure|exam(?:ination)?|study) ?(?:and|&|/) ?techniques?",
        "contrast(?: media| agent)?",
        "(?:radiation )?dose(?: report)?",
        "views?(?: obtained)?",
        "number of views",
        "method(?:s|ology)?",
    ),
    "comparison": (
        "comparisons?",
        "comparisons?(?: (?:exam(?:ination)?s?|stud(?:y|ies)|films?|radiographs?|date|made|is|with|to|none))?",
        "(?:prior|previous|reference|relevant prior) (?:exam(?:ination)?s?|stud(?:y|ies)|films?|imaging|reports?)",
        "priors?",
    ),
    "exam": (
        "exam(?:ination)?s?",
        "(?:type|name|date|time|title) of (?:exam(?:ination)?|study|service|procedure)",
        "(?:exam(?:ination)?|study|procedure|service|report|accession) "
        "(?:type|name|date|time|title|number|performed|description|code)",
        "procedures?(?: performed)?",
        "stud(?:y|ies)(?: performed)?",
        "accession(?: (?:number|no))?",
        "modality",
        "protocol name",
        "(?:patient(?: name)?|name|mrn|dob|date of birth|age|sex|gender|order(?:ing)? (?:physician|provider)"
        "|referring (?:physician|provider|doctor|dr)|date|location)",
    ),
    "recommendation": (
        "recommendations?",
        "(?:follow-?up|recommended|suggested) ?(?:recommendations?|action|plan|imaging)?",
        "plan",
        "advice",
        "suggestions?",
    ),
    "notification": (
        "notifications?",
        "(?:critical|urgent|significant) (?:results?|findings?|values?)(?: (?:communication|notification))?",
        "communications?(?: of (?:critical )?(?:results?|findings?))?",
    ),
    "administrative": (
        "(?:icd|cpt|billing|snomed)-? ?(?:9|10)?(?: ?-? ?(?:cm|pcs))? ?codes?",
        "disclaimers?",
        "attestation",
        "(?:teaching|attending) (?:physician|radiologist) (?:statement|attestation)",
        "(?:job|document|transcription|workstation|report) (?:number|id)",
        "(?:report )?status",
        "cc",
    ),
    "addendum": (
        "addend(?:um|a)(?: ?(?:#|no\\.?|number)? ?\\d{1,2}(?: of \\d{1,2})?)?",
        "addend(?:um|a)(?: to)?(?: the)?(?: (?:original|final|initial|previous))?"
        " (?:report|findings?|impressions?|begins?|starts?|text)",
        "addend(?:um|a) (?:by|dated|on|created|added|entered|signed)[^:\\n]{0,60}(?::\\d\\d(?!\\d)[^:\\n]{0,30}){0,2}",
        "(?:late|corrected|first|second|third|new) addend(?:um|a)",
        "(?:start|begin|beginning) of addend(?:um|a)",
        "amendments?",
        "(?:amended|revised|corrected|addended) (?:report|findings?|impressions?)",
        "correction(?: to (?:the )?report)?",
    ),
}
"""The canonical sections, and how their headings are spelt (regular expressions, in any case)."""

HEADERS = (
    "(?:final|preliminary|radiology|x-?ray|diagnostic|official) reports?",
    "(?:final )?wet read",
    "(?:final )?narrative",
    "end of (?:report|impression|addend(?:um|a))",
    "addend(?:um|a) ends?",
    "(?:original|initial) report(?: follows)?",
)
"""Titles of a whole report; they name no section, and a report with these alone counts as one without headings."""

BOTH = re.compile(
    r"findings?[ \t]*(?:and|&|/|-)[ \t]*\w"
    r"|(?:impressions?|conclusions?|opinions?|interpretation)[ \t]*(?:and|&|/|-)[ \t]*findings?",
    re.IGNORECASE,
)
"""A heading of the section of findings that is one of the impression too."""

SEEN = re.compile(
    r"(?:there (?:is|are)(?! no (?:prior|previous|comparison|old|earlier|other|relevant))"
    r"|(?:the )?(?:heart|cardiac|cardiomediastinal|mediastinal|lungs?|bones|pleura)\b[\w ]{0,40}?"
    r" (?:is|are|appears?|remains?)"
    r")\b",
    re.IGNORECASE,
)
"""How what is seen begins: under COMPARISON, left empty, where the findings have no heading of their own."""

KIND = r"(?:radiographic|radiologic(?:al)?|imaging|x-?ray|ct|mri?|chest|cxr|final|overall|preliminary)[ \t]+"
"""A word that may stand before a heading at the start of a line: CHEST FINDINGS."""

MODIFIERS = frozenset(
    [
        *("no", "acute", "the", "these", "those", "this", "other", "incidental", "additional", "significant", "new"),
        *("associated", "above", "below", "positive", "negative", "major", "minor", "pertinent", "key", "main"),
        *("relevant", "abnormal", "normal", "and", "or", "of", "with", "for", "similar", "following", "remaining"),
        "unexpected",
    ]
)
"""A word before FINDINGS: that makes it part of a sentence, not a heading."""


STRONG = re.compile(
    r"findings?|impressions?|conclusions?|opinion|indications?|(?:clinical )?history|techniques?|comparisons?"
    r"|reason for [a-z ]+|clinical (?:information|indications?|data|details)|recommendations?|exam(?:ination)?",
    re.IGNORECASE,
)
"""Headings that are such even in the middle of a line, with no full stop before them."""

FILM = re.compile(
    r"^[ \t]*(?![^\n:]*\b(?:CT|MRI?|CTA)\b)[A-Z ,/()0-9-]{0,60}\b(?:CHEST|RADIOGRAPHS?|VIEWS?|FILMS?|X-?RAY)\b"
    r"[A-Z ,/()0-9-]{0,60}:(?=[ \t]+[A-Z][a-z]* [a-z])",
    re.MULTILINE,
)
"""PA AND LATERAL CHEST: The lungs ..., the heading of the findings in many a report of a radiograph."""

_DONE = "(?:signed|approved|verified|authenticated|finali[sz]ed|dictated|transcribed|reviewed|interpreted|released)"
_WHO = "(?:radiologist|physician|doctor|provider|attending|resident|fellow)"
SIGNATURE = re.compile(
    rf"[ \t*_-]*\b(?:electronically|digitally)[ \t]+{_DONE}\b"
    rf"|\bdictated(?:[ \t]+and[ \t]+{_DONE})?[ \t]*(?:/|by\b|:)"
    r"|(?:^|(?<=[.!?;])\s)[ \t*_-]*(?:"
    rf"(?:this[ ](?:report|study|exam(?:ination)?)[ ](?:was|has[ ]been)[ ])?(?:(?:electronically|digitally)[ ])?{_DONE}"
    rf"(?:[ ]and[ ](?:electronically[ ])?{_DONE})?[ ]*(?:by\b|/|:)"
    r"|(?:signed|transcribed|approved|verified)[ ]on\b|(?:reported|read|prepared)[ ]by\b"
    rf"|(?:(?:dictating|attending|reading|interpreting|reporting|signing|resident|staff|consultant)[ ])?{_WHO}[ \t]*:"
    r"|(?:signature|transcriptionist|dictation[ ](?:date|time)|date[ ]dictated|d/?t)[ \t]*:"
    r"|i,?[ ][^.\n]{0,60}(?:reviewed|viewed|interpreted)[ ]the[ ](?:images?|films?|study|above)"
    r"|(?:i,[ ])?the[ ](?:attending|teaching|staff)[^.\n]{0,60}[ ](?:personally[ ])?(?:reviewed|viewed)"
    r")",
    re.IGNORECASE | re.MULTILINE,
)
SHORT = re.compile(
    r"(?:^|[\s(])(?:dr|drs|mr|mrs|ms|prof|st|approx|ca|vs|resp|incl|esp|no|nos|fig|figs|e\.g|i\.e|etc|min|max|avg"
    r"|dept|inc|jr|sr|ant|post|lat|sup|inf|rt|lt|bilat|diam|ref|cf|al|temp|est|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec)\.$",
    re.IGNORECASE,
)


NOTHING = frozenset(
    [
        *("n/a", "na", "n.a", "none", "nil", "null", "nan", "not available", "not applicable", "not provided"),
        *("not given", "not reported", "not recorded", "none available", "none provided", "none given"),
        *(
            "none recorded",
            "unavailable",
            "unknown",
            "untitled",
            "tbd",
            "tba",
            "todo",
            "pending",
            "in progress",
            "work in progress",
            "to be added",
            "coming soon",
            "test",
        ),
        *("no caption", "no caption available", "no caption provided", "no report", "no report available"),
        *("no text", "no text available", "no description", "no description available", "no description provided"),
        *("no data", "no information", "no info", "no comment", "no comments", "caption", "caption here"),
        *("caption goes here", "image", "picture", "photo", "figure", "title", "text", "description", "report"),
        *("placeholder", "see report", "see below", "see above", "see text", "see findings", "see impression"),
        *("see full report", "see separate report", "see attached", "see attached report", "see dictated report"),
        *("see caption", "as above", "as below", "same as above", "as described above", "refer to report"),
        *("report pending", "report to follow", "dictation pending", "report not available", "no dictation"),
        *("your text here", "enter text here", "type here", "undefined", "missing", "empty", "blank"),
    ]
)
"""Whole texts, as `reports.normalise` leaves them, that say nothing of an image."""

NOTHING_LIKE = re.compile(
    r"(?:replace|insert|enter|type|add|put|write) (?:this|your|text|a|the|caption|image)\b.*(?:here|caption|text|-).*"
    r"|replace this\b.*|lorem ipsum\b.*|(?:image|figure|fig|picture|slide|series|slice)\.? ?#?\d{1,4}[a-z]?|x[x\s./-]*"
)

CHEST = re.compile(
    r"\b(?:chest|thora\w*|lungs?|pulmonary|pleura\w*|lobes?|hil(?:um|a|ar)|mediastin\w*|cardi\w*|heart|air-?space|apex|"
    r"apical|costophrenic|bronch\w*|trachea\w*|ribs?|pneumo\w*|atelecta\w*|diaphragm\w*|hiatal)\b",
    re.IGNORECASE,
)
"""Words by which a report speaks of the chest, of which the findings are that are read."""
