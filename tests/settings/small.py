"""A small fleet file, and ways to change it."""

SMALL = """\
services:
  chat:
    model: llama-3.1-8b
    variants:
      l40s:
        gpu: L40S
        scrape: {static: ["http://10.0.0.5:8000"]}
"""

SCRAPE = '        scrape: {static: ["http://10.0.0.5:8000"]}\n'


def process(inside: str) -> str:
    return SMALL.replace(SCRAPE, f"        actuator: {{process: {{{inside}}}}}\n")
