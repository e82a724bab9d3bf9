"""Write dashboards/*.json, for Grafana 11.6, from the table in panels.py: `make dashboards`."""

from __future__ import annotations

import sys
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from panels import BOARDS, Board, Panel  # noqa: E402 (beside this file, which is no package)

_HEIGHTS = {True: 4, False: 8}  # by whether it is a number
_SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")


def rendered(board: Board) -> str:
    """The dashboard as Grafana reads it."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .tags(["debfleet"])
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
    )
    if board.has_repository:
        values = "label_values(debfleet_repository_packages, repository)"
        built.with_variable(
            dashboard.QueryVariable("repository")
            .label("Repository")
            .datasource(_SOURCE)
            .query(values)
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(model.VariableSort.ALPHABETICAL_ASC)
        )
    for title, panels in board.rows:
        built.with_row(dashboard.Row(title))
        for panel in panels:
            built.with_panel(_panel(panel))
    text = JSONEncoder(sort_keys=True, indent=2).encode(built.build())
    return text + "\n"


def _panel(panel: Panel) -> stat.Panel | timeseries.Panel:
    made = (_number if panel.is_number else _lines)(panel)
    made.title(panel.title).description(panel.meaning).datasource(_SOURCE).unit(panel.unit)
    made.span(panel.width).height(_HEIGHTS[panel.is_number])
    for number, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expression).ref_id("ABCDEFGH"[number])
        target.legend_format(query.legend or panel.title)
        made.with_target(target.instant() if panel.is_number else target.range())
    return made


def _number(panel: Panel) -> stat.Panel:
    steps = [model.Threshold(value=None, color="green")]
    if panel.bad_above is not None:
        steps.append(model.Threshold(value=panel.bad_above, color="red"))
    if panel.bad_below is not None:
        steps = [
            model.Threshold(value=None, color="red"),
            model.Threshold(value=panel.bad_below, color="green"),
        ]
    return (
        stat.Panel()
        .graph_mode(common_model.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps))
    )


def _lines(_: Panel) -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(common_model.LegendDisplayMode.LIST)
        .placement(common_model.LegendPlacement.BOTTOM)
    )
    return timeseries.Panel().axis_soft_min(0).fill_opacity(8).legend(legend)


if __name__ == "__main__":
    for _board in BOARDS:
        _path = HERE / "dashboards" / f"{_board.uid}.json"
        _path.write_text(rendered(_board), encoding="utf-8")
