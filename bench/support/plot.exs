defmodule Bench.Plot do
  @moduledoc "Log-log plots as SVG text."

  @width 430
  @height 300
  @left 62
  @top 40
  @gap 90
  @bottom 40
  @legend 158

  @doc """
  Panels side by side with the same axes. A panel is `{title, lines}`, a line `{name, style, [{x, y}]}`, and a style
  `{colour, dashes}`, where `""` is solid. All values are above 0.
  """
  def log_log(panels, x_label, y_label) do
    points = for {_title, lines} <- panels, {_name, _style, points} <- lines, point <- points, do: point
    xs = points |> Enum.map(&elem(&1, 0)) |> Enum.uniq() |> Enum.sort()
    {low, high} = points |> Enum.map(&elem(&1, 1)) |> Enum.min_max()
    axes = %{x: {hd(xs), List.last(xs)}, y: {decade(low, &Float.floor/1), decade(high, &Float.ceil/1)}, ticks: xs}
    width = @left + length(panels) * (@width + @gap) + @legend - @gap + 20

    [
      ~s(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 #{width} #{@top + @height + @bottom}" ),
      ~s(font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>),
      for({panel, index} <- Enum.with_index(panels), do: panel(panel, index, axes, x_label, y_label)),
      legend(panels, width),
      "</svg>\n"
    ]
    |> IO.iodata_to_binary()
  end

  defp panel({title, lines}, index, axes, x_label, y_label) do
    left = @left + index * (@width + @gap)
    x = fn value -> fixed(left + part(value, axes.x) * @width) end
    y = fn value -> fixed(@top + (1 - part(value, axes.y)) * @height) end
    {low, high} = axes.y

    [
      text(left + @width / 2, @top - 18, "middle", title, ~s( font-weight="bold")),
      text(left + @width / 2, @top + @height + 34, "middle", x_label),
      text(left - 4, @top - 6, "end", y_label),
      for value <- axes.ticks do
        [rule(x.(value), @top, x.(value), @top + @height), text(x.(value), @top + @height + 16, "middle", "#{value}")]
      end,
      for value <- grid(low, high) do
        [
          rule(left, y.(value), left + @width, y.(value)),
          if(labelled?(value), do: text(left - 6, y.(value), "end", "#{value}", ~s( dy="4")), else: [])
        ]
      end,
      for {_name, {colour, dashes}, points} <- lines do
        path = Enum.map_join(points, " ", fn {at, value} -> "#{x.(at)},#{y.(value)}" end)

        [
          ~s(<polyline fill="none" stroke="#{colour}" stroke-width="1.8" stroke-dasharray="#{dashes}" points="#{path}"/>),
          for({at, value} <- points, do: ~s(<circle cx="#{x.(at)}" cy="#{y.(value)}" r="2" fill="#{colour}"/>))
        ]
      end
    ]
  end

  defp legend([{_title, lines} | _panels], width) do
    for {{name, {colour, dashes}, _points}, index} <- Enum.with_index(lines) do
      at = @top + 10 + index * 20

      [
        ~s(<line x1="#{width - @legend}" x2="#{width - @legend + 26}" y1="#{at}" y2="#{at}" stroke="#{colour}" ),
        ~s(stroke-width="1.8" stroke-dasharray="#{dashes}"/>),
        text(width - @legend + 32, at, "start", name, ~s( dy="4"))
      ]
    end
  end

  defp rule(x1, y1, x2, y2), do: ~s(<line x1="#{x1}" y1="#{y1}" x2="#{x2}" y2="#{y2}" stroke="#ddd"/>)

  defp text(x, y, anchor, text, more \\ "") do
    ~s(<text x="#{x}" y="#{y}" text-anchor="#{anchor}" fill="#333"#{more}>#{text}</text>)
  end

  # 0 at the low end, 1 at the high one.
  defp part(value, {low, high}), do: :math.log(value / low) / :math.log(high / low)

  defp decade(value, round), do: 10 |> :math.pow(round.(:math.log10(value))) |> round()

  defp grid(low, high), do: for(unit <- decades(low, high), k <- 1..9, k * unit <= high, do: k * unit)
  defp decades(low, high), do: low |> Stream.iterate(&(&1 * 10)) |> Enum.take_while(&(&1 <= high))

  # 1, 2 and 5 of each decade.
  defp labelled?(value), do: value |> Integer.digits() |> hd() |> Kernel.in([1, 2, 5])

  defp fixed(number), do: :erlang.float_to_binary(number * 1.0, decimals: 1)
end
