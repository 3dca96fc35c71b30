"""Cohorts on order: a plan is dealt out into orders, and every order is made, measured, labelled and written."""
