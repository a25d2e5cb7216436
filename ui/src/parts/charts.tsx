// Charts, drawn here: bars that stand on each other, and lines. A library for these weighs more than all pages together.
import { Group, Paper, Text } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { type KeyboardEvent, type PointerEvent, useState } from "react";

/** `color` is one of Mantine's, with its shade: "indigo.6". A point without a value is null: a line breaks there. */
export type Series = { name: string; label: string; color: string };
export type Point = { name: string; values: Record<string, number | null> };

const HEIGHT = 200;
const LEFT = 56;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 22;
const TICKS = 4;
const LABEL_PX = 64;

const color = (name: string) => `var(--mantine-color-${name.replace(".", "-")})`;

export function Chart({
  title,
  points,
  series,
  format,
  named,
  lines = false,
}: {
  title: string;
  points: Point[];
  series: Series[];
  format: (value: number) => string;
  /** How a point's name is written, under the chart and in what is said of it. */
  named: (name: string) => string;
  lines?: boolean;
}) {
  const { ref, width } = useElementSize();
  const [at, setAt] = useState<number | null>(null);
  const of = (point: Point, one: Series) => point.values[one.name] ?? 0;
  const height = (point: Point) => (lines ? Math.max(...series.map((one) => of(point, one))) : series.reduce((sum, one) => sum + of(point, one), 0));
  const top = ceiling(Math.max(0, ...points.map(height)));
  const step = points.length ? Math.max(0, width - LEFT - RIGHT) / points.length : 0;
  const x = (place: number) => LEFT + (place + 0.5) * step;
  const y = (value: number) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const every = Math.max(1, Math.ceil(LABEL_PX / Math.max(step, 1)));
  const hover = (event: PointerEvent<SVGSVGElement>) => {
    const place = Math.floor((event.clientX - event.currentTarget.getBoundingClientRect().left - LEFT) / step);
    setAt(place >= 0 && place < points.length ? place : null);
  };
  const walk = (event: KeyboardEvent) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    setAt((before) => Math.min(points.length - 1, Math.max(0, before === null ? (by > 0 ? 0 : points.length - 1) : before + by)));
  };
  const chosen = at === null ? null : points[at];
  return (
    <Paper withBorder p="md" role="figure" aria-label={title}>
      <Group justify="space-between" mb="xs" gap="xs">
        <Text fw={600}>{title}</Text>
        <Group gap="xs">
          {series.length > 1 &&
            series.map((one) => (
              <Group key={one.name} gap={4}>
                <span className="swatch" style={{ background: color(one.color) }} />
                <Text size="xs">{one.label}</Text>
              </Group>
            ))}
        </Group>
      </Group>
      <div ref={ref} className="chart">
        {width > 0 && (
          <svg width={width} height={HEIGHT} role="application" aria-label={title} tabIndex={0} onPointerMove={hover} onPointerLeave={() => setAt(null)} onBlur={() => setAt(null)} onKeyDown={walk}>
            {Array.from({ length: TICKS + 1 }, (_, tick) => (top * tick) / TICKS).map((value) => (
              <g key={value}>
                <line x1={LEFT} x2={width - RIGHT} y1={y(value)} y2={y(value)} className="chart-line" />
                <text x={LEFT - 6} y={y(value) + 4} textAnchor="end">
                  {format(value)}
                </text>
              </g>
            ))}
            {at !== null && <rect x={LEFT + at * step} y={TOP} width={step} height={HEIGHT - TOP - BOTTOM} className="chart-at" />}
            {lines ? series.map((one) => <Line key={one.name} one={one} points={points} x={x} y={y} />) : points.map((point, place) => <Bars key={point.name} point={point} series={series} x={x(place)} width={Math.max(1, step * 0.7)} y={y} />)}
            {points.map(
              (point, place) =>
                place % every === Math.floor(every / 2) % every && (
                  <text key={point.name} x={x(place)} y={HEIGHT - 6} textAnchor="middle">
                    {named(point.name)}
                  </text>
                ),
            )}
          </svg>
        )}
        {chosen && at !== null && (
          <div className="chart-said" role="status" style={{ left: Math.min(Math.max(0, x(at) - 80), Math.max(0, width - 170)) }}>
            <b>{named(chosen.name)}</b>
            {series.map((one) => {
              const value = chosen.values[one.name];
              return (
                <div key={one.name}>
                  <span className="swatch" style={{ background: color(one.color) }} /> {one.label}: {value === null || value === undefined ? "–" : format(value)}
                </div>
              );
            })}
          </div>
        )}
      </div>
    </Paper>
  );
}

function Bars({ point, series, x, width, y }: { point: Point; series: Series[]; x: number; width: number; y: (value: number) => number }) {
  let below = 0;
  return series.map((one) => {
    const value = point.values[one.name] ?? 0;
    const from = y(below);
    below += value;
    return value > 0 && <rect key={one.name} x={x - width / 2} width={width} y={y(below)} height={Math.max(0.5, from - y(below))} fill={color(one.color)} />;
  });
}

function Line({ one, points, x, y }: { one: Series; points: Point[]; x: (place: number) => number; y: (value: number) => number }) {
  let path = "";
  points.forEach((point, place) => {
    const value = point.values[one.name];
    const before = place > 0 ? points[place - 1]!.values[one.name] : null;
    if (value !== null && value !== undefined) path += `${before === null || before === undefined ? "M" : "L"}${x(place)} ${y(value)}`;
  });
  return (
    <g>
      <path d={path} fill="none" stroke={color(one.color)} strokeWidth={2} />
      {points.map((point, place) => {
        const value = point.values[one.name];
        return value !== null && value !== undefined && <circle key={point.name} cx={x(place)} cy={y(value)} r={2.5} fill={color(one.color)} />;
      })}
    </g>
  );
}

/** The next number that reads well: 1, 2, 4 or 5 times a power of ten. */
function ceiling(value: number): number {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 4, 5, 10].find((one) => one * power >= value) ?? 10) * power;
}
