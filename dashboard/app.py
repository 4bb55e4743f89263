"""Run me: ``python -m streamlit run dashboard/app.py``; PENNYWEIGHT_LEDGER names the ledger to read."""

from __future__ import annotations

import streamlit as st

from dashboard import accounting, budgets, decisions, fleet, forecast, service, spend

# Scales, drawn here: a browser would fetch a named icon for its tab from another host. (No docstring: Streamlit shows
# bare strings of the file that it runs.)
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#2f5d8c" stroke-width="2">'
    '<path d="M12 3v18M7 21h10M4 7h16M4 7l-3 7h6zM20 7l-3 7h6z"/></svg>'
)


def main() -> None:
    """What goes on now, and what it cost."""
    st.set_page_config(page_title="Pennyweight", page_icon=ICON, layout="wide")
    pages = [
        st.Page(fleet.page, title="Fleet now", icon=":material/payments:", default=True),
        st.Page(service.page, title="One service", icon=":material/timeline:", url_path="service"),
        st.Page(forecast.page, title="Forecast", icon=":material/trending_up:", url_path="forecast"),
        st.Page(spend.page, title="Spend", icon=":material/account_balance_wallet:", url_path="spend"),
        st.Page(budgets.page, title="Budgets", icon=":material/savings:", url_path="budgets"),
        st.Page(accounting.page, title="Accounting", icon=":material/fact_check:", url_path="accounting"),
        st.Page(decisions.page, title="Decision log", icon=":material/list_alt:", url_path="decisions"),
    ]
    st.navigation(pages, position="top").run()


main()
