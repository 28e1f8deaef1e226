# Takes out of the pages what the policy of their answers keeps browsers from: each script within a page becomes a file beside it,
# each style a class, or a property where a script sets it. Run by bin/book with the folder of the pages.
[folder] = System.argv()

for script <- Path.wildcard(folder <> "/*.js") do
  File.write!(script, String.replace(File.read!(script), ".setAttribute('style', ", ".style.cssText = ("))
end

for page <- Path.wildcard(folder <> "/**/*.html") do
  up = page |> Path.relative_to(folder) |> Path.split() |> tl() |> Enum.map_join(fn _folder -> "../" end)

  text =
    Regex.replace(~r{<script>(.*?)</script>}s, File.read!(page), fn _all, script ->
      hash = :sha256 |> :crypto.hash(script) |> Base.encode16(case: :lower) |> binary_part(0, 8)
      File.write!(Path.join(folder, "inline-#{hash}.js"), script)
      ~s(<script src="#{up}inline-#{hash}.js"></script>)
    end)

  text =
    text
    |> String.replace(~s(<div style="clear: both"></div>), "")
    |> String.replace(~r/style="text-align: (left|center|right)"/, ~S(class="\1"))

  if text =~ ~r/<[^<>]* (style|on[a-z]+)=/, do: raise("#{page} has a style or a script in an attribute")
  File.write!(page, text)
end
