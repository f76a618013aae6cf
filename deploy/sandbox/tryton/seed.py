"""Give an empty Tryton what an order needs: a company, its books, products in stock, and a user for the hub.

    seed.py TRYTOND_CONF DATABASE OUTPUT_JSON        (HUB_ERP_PASSWORD in the environment)

Runs inside the ERP's own environment, beside the server's code, through proteus. Each step looks before it makes, so
that a run which was cut off is finished by the next one, and a second run changes nothing.
"""

import datetime as dt
import json
import os
import sys
from decimal import Decimal
from pathlib import Path

from proteus import Model, Wizard
from proteus import config as proteus_config

PRODUCTS = (  # code, name, price, pieces on hand
    ("SKU-1001", "Widget", "199.00", 1_000_000),
    ("SKU-1002", "Gadget", "59.90", 1_000_000),
    ("SKU-1003", "精密螺丝", "0.85", 1_000_000),
    ("SKU-0010", "限量礼盒", "520.00", 10),  # scarce, to show that the hub does not sell the eleventh
)
HUB_LOGIN = "hub"
HUB_GROUPS = (
    "Sales", "Sales Administrator", "Stock", "Accounting", "Account", "Party Administration", "Product Administration",
    "Account Product Administration", "Marketing", "Sale Opportunity",
)  # fmt: skip


def first(model, *domain):
    found = Model.get(model).find(list(domain), limit=1)
    return found[0] if found else None


def made(model, values, *domain):
    """The record the domain finds, or a new one with these values."""
    record = first(model, *domain)
    if record is None:
        record = Model.get(model)(**values)
        record.save()
    return record


def seed_company():
    currency = first("currency.currency", ("code", "=", "CNY"))
    if currency is None:
        currency = Model.get("currency.currency")(
            name="Renminbi", code="CNY", numeric_code="156", symbol="¥", rounding=Decimal("0.01"), digits=2
        )
        rate = currency.rates.new()
        rate.date, rate.rate = dt.date(2020, 1, 1), Decimal("1")
        currency.save()
    company = first("company.company")
    if company is None:
        owner = made("party.party", {"name": "Example Trading Co."}, ("name", "=", "Example Trading Co."))
        wizard = Wizard("company.company.config")
        wizard.execute("company")
        wizard.form.party, wizard.form.currency = owner, currency
        wizard.execute("add")
        company = first("company.company")
    return company, currency


def account_of(kind, company):
    return first("account.account", (f"type.{kind}", "=", True), ("company", "=", company.id), ("closed", "!=", True))


def seed_chart(company, context):
    """The minimal universal chart that comes with the account module."""
    if account_of("revenue", company) is None:
        root = Model.get("ir.model.data").get_id("account.account_template_root_en", context)
        wizard = Wizard("account.create_chart")
        wizard.execute("account")
        wizard.form.account_template = Model.get("account.account.template")(root)
        wizard.form.company = company
        wizard.execute("create_account")
        wizard.form.account_receivable = account_of("receivable", company)
        wizard.form.account_payable = account_of("payable", company)
        wizard.form.category_account_revenue = account_of("revenue", company)
        wizard.form.category_account_expense = account_of("expense", company)
        wizard.execute("create_properties")


def seed_fiscal_years(company):
    """This year and the next: an ERP without a period for today refuses to invoice, on New Year's morning too."""
    types = {kind.name: kind for kind in Model.get("ir.sequence.type").find([])}
    for year in (dt.date.today().year, dt.date.today().year + 1):  # noqa: DTZ011 - the ERP's own calendar
        if first("account.fiscalyear", ("name", "=", str(year))):
            continue
        sequence = {
            name: made(
                "ir.sequence.strict",
                {"name": f"{name} {year}", "sequence_type": types[name], "company": company},
                ("name", "=", f"{name} {year}"),
            )
            for name in ("Account Move", "Invoice")
        }
        fiscal_year = Model.get("account.fiscalyear")(
            name=str(year), start_date=dt.date(year, 1, 1), end_date=dt.date(year, 12, 31), company=company
        )
        fiscal_year.move_sequence = sequence["Account Move"]
        (numbers,) = fiscal_year.invoice_sequences
        numbers.out_invoice_sequence = numbers.in_invoice_sequence = sequence["Invoice"]
        numbers.out_credit_note_sequence = numbers.in_credit_note_sequence = sequence["Invoice"]
        fiscal_year.save()
    for fiscal_year in Model.get("account.fiscalyear").find([]):
        if not fiscal_year.periods:
            fiscal_year.click("create_period")


def seed_tax(company):
    tax = first("account.tax", ("name", "=", "VAT 13%"))
    if tax is None:
        account = first("account.account", ("code", "=", "6.3.6"), ("company", "=", company.id))
        tax = Model.get("account.tax")(name="VAT 13%", description="VAT 13%", type="percentage", rate=Decimal("0.13"))
        tax.invoice_account = tax.credit_note_account = account or account_of("expense", company)
        tax.save()
    return tax


def seed_payment_term():
    term = first("account.invoice.payment_term", ("name", "=", "30 days"))
    if term is None:
        term = Model.get("account.invoice.payment_term")(name="30 days")
        term.lines.new(type="remainder").relativedeltas.new(days=30)
        term.save()
    return term


def seed_payment_method(company):
    """What the wizard that pays an invoice asks for."""
    method = first("account.invoice.payment.method")
    if method is None:
        cash = first("account.account", ("code", "=", "1.1.1"), ("company", "=", company.id))
        journal = made("account.journal", {"name": "Cash", "type": "cash"}, ("type", "=", "cash"))
        method = Model.get("account.invoice.payment.method")(name="Bank", company=company, journal=journal)
        method.debit_account = method.credit_account = cash or account_of("receivable", company)
        method.save()
    return method


def seed_products(company, tax):
    accounting = first("product.category", ("name", "=", "Goods (accounting)"))
    if accounting is None:
        accounting = Model.get("product.category")(name="Goods (accounting)", accounting=True)
        accounting.account_revenue = account_of("revenue", company)
        accounting.account_expense = account_of("expense", company)
        accounting.customer_taxes.append(tax)
        accounting.save()
    goods = made("product.category", {"name": "Goods"}, ("name", "=", "Goods"))
    unit = first("product.uom", ("name", "=", "Unit"))
    products = {}
    for code, name, price, _ in PRODUCTS:
        product = first("product.product", ("code", "=", code))
        if product is None:
            template = Model.get("product.template")(
                name=name, default_uom=unit, type="goods", salable=True, list_price=Decimal(price)
            )
            template.account_category = accounting
            # A fresh handle each time: proteus lends a record to one list only.
            template.categories.append(Model.get("product.category")(goods.id))
            template.products[0].suffix_code = code
            template.save()
            product = template.products[0]
        products[code] = product.id
    return products, unit


def seed_stock(products):
    """One inventory for each product that never moved; a second run must not count what was sold as missing."""
    storage = first("stock.location", ("code", "=", "STO"))
    for code, _, _, pieces in PRODUCTS:
        if first("stock.move", ("product", "=", products[code]), ("state", "=", "done")):
            continue
        inventory = Model.get("stock.inventory")(location=storage)
        line = inventory.lines.new(product=Model.get("product.product")(products[code]))
        line.quantity = pieces
        inventory.save()
        inventory.click("confirm")
    return storage


def seed_hub_user(company):
    """The integration user: no administrator, random password, and a key for the REST door."""
    user = first("res.user", ("login", "=", HUB_LOGIN))
    if user is None:
        user = Model.get("res.user")(name="CRM Hub", login=HUB_LOGIN)
        user.password = os.environ["HUB_ERP_PASSWORD"]
        for group in Model.get("res.group").find([]):
            if group.name in HUB_GROUPS or group.name.startswith(("Sale", "Marketing")):
                user.groups.append(group)
        user.companies.append(company)
        user.company = company
        user.save()
    application = first("res.user.application", ("user", "=", user.id))
    if application is None:
        application = Model.get("res.user.application")(user=user, application="rest")
        application.save()
    if application.state != "validated":  # the server refuses a key that nobody validated
        application.click("validate_")
    return user, application


def main():
    conf, database, output = sys.argv[1:4]
    session = proteus_config.set_trytond(database=database, user="admin", config_file=conf)
    company, currency = seed_company()
    session._context = Model.get("res.user").get_preferences(True, {})
    seed_chart(company, session.context)
    seed_fiscal_years(company)
    tax, term = seed_tax(company), seed_payment_term()
    products, unit = seed_products(company, tax)
    storage = seed_stock(products)
    # (web_shop, web_id) is unique in the ERP: this pair is what keeps an order from being booked twice.
    shop = made("web.shop", {"name": "hub", "company": company, "currency": currency}, ("name", "=", "hub"))
    mailing_list = made("marketing.email.list", {"name": "newsletter"}, ("name", "=", "newsletter"))
    user, application = seed_hub_user(company)
    seeded = {
        "database": database,
        "company": company.id,
        "currencies": {"CNY": currency.id},
        "taxes": {"VAT13": tax.id},
        "payment_term": term.id,
        "payment_method": seed_payment_method(company).id,
        "uom": unit.id,
        "warehouse": first("stock.location", ("type", "=", "warehouse")).id,
        "storage": storage.id,
        "web_shop": shop.id,
        "mailing_list": mailing_list.id,
        "products": products,
        "user": user.login,
        "groups": [group.name for group in user.groups],
        "rest_key": application.key,
    }
    Path(output).write_text(json.dumps(seeded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
