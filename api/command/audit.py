"""`wallet audit`: runs the audit behind a progress bar, and prints what it found."""

from api.command.screen import SCREEN, progress_of
from domain.ledger.audit import AuditReport, audit
from domain.store.connection import Store


async def show_audit(store: Store) -> AuditReport:
    """Audits behind a progress bar and prints what it found."""
    with progress_of("entries") as progress:
        task = progress.add_task("Auditing", total=None)
        report = await audit(store, progress=lambda done, all_: progress.update(task, completed=done, total=all_))
    for line in report_lines(report):
        SCREEN.print(line, markup=False)
    return report


def report_lines(report: AuditReport) -> list[str]:
    """The audit's report in words."""
    looked_at = f"{report.members:,} wallets, {report.entries:,} entries and {report.refusals:,} refusals"
    if report.ok:
        lines = [f"All is well: {looked_at} agree with each other and with every sum ({report.seconds:.1f} s)."]
    else:
        lines = [f"{report.difference_count:,} differences in {looked_at} ({report.seconds:.1f} s):"]
    for each in report.differences:
        where = " ".join(part for part in (each.member, each.entry) if part)
        lines.append(f"  {where or 'everywhere'}: {each.what}")
    if not report.accounts_compared:
        lines.append("  The programme's accounts could not be compared; run the audit again when it is quieter.")
    if report.uncounted:
        lines.append(
            f"  {report.uncounted:,} entries have yet to be summed by a worker; their slots were not compared."
        )
    return lines
