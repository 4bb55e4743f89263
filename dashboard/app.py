"""Run me: ``python -m streamlit run dashboard/app.py``; PENNYWEIGHT_LEDGER names the ledger to read."""

from __future__ import annotations

import streamlit as st

from dashboard import decisions, fleet, forecast, service


def main() -> None:
    """The four pages, money first."""
    st.set_page_config(page_title="Pennyweight", page_icon=":material/balance:", layout="wide")
    pages = [
        st.Page(fleet.page, title="Fleet now", icon=":material/payments:", url_path="fleet", default=True),
        st.Page(service.page, title="One service", icon=":material/timeline:", url_path="service"),
        st.Page(forecast.page, title="Forecast", icon=":material/trending_up:", url_path="forecast"),
        st.Page(decisions.page, title="Decision log", icon=":material/list_alt:", url_path="decisions"),
    ]
    st.navigation(pages, position="top").run()


main()
