defmodule TidepoolWeb.LargeBodiesTest do
  # Not async: the memory of a node is measured, and each core is busy.
  #
  # A body of any size goes through a handler of HTTP, in whatever language, and the node holds none of it. What componentize-py and
  # componentize-js make holds something of each piece itself, in its own memory.
  use Tidepool.Case

  alias Tidepool.{HttpGuests, Peer}

  @moduletag timeout: 3_600_000

  @mib 1_048_576
  # What a node may have more at most, at any time of an exchange, than it has with the same guest at work on little.
  @more 4 * @mib

  setup_all do
    peer = Peer.start!(server: true)
    {:ok, peer: peer, os_pid: Peer.call(peer, System, :pid, [])}
  end

  for {language, module, lacks, heavy} <- HttpGuests.guests() do
    @tag skip: heavy and System.get_env("TIDEPOOL_LONG", "") == ""
    @tag language: language, guest: module, lacks: lacks
    test "#{language}/#{module}: the client and the guest count the same bytes, and the node has not more memory for them",
         %{peer: peer, os_pid: os_pid, language: language, guest: guest, lacks: lacks} do
      size = sample(64, 1_024) * @mib

      # A byte and a third for each of the body in Python; a handle for each 8 KiB in JavaScript, of which there may be one for 4 KiB of memory.
      memory = Map.get(%{"python_http" => 2_048, "js_http" => 640}, guest, 64) * @mib
      # What the host has of a handle, and its account counts.
      handles = if guest == "js_http", do: div(size, 8_192) * 128, else: 0
      limits = [payload: 2 * size, reply: 2 * size, memory: memory, time: 3_600_000, cpu_time: 3_600_000]
      name = "large_#{language}_#{guest}"
      {:ok, _function} = Peer.call(peer, Tidepool, :deploy, [guest(language, guest), [name: name, limits: limits]])
      # Its code is in the node's memory, too.
      eventually(fn -> match?({:ok, %{tier: :optimised}}, Peer.call(peer, Tidepool, :fetch, [name])) end, 600_000)

      for {path, check} <- [{"/echo", :echo}, {"/sha256", :sha256}], check not in lacks do
        # As much as all pieces that are on their way, more than once.
        [_first, _second, before] =
          for _again <- 1..3, do: most(os_pid, fn -> exchange!(peer, name, path, 8 * @mib) end)

        guest_before = guest_memory(peer, name)
        more = most(os_pid, fn -> exchange!(peer, name, path, size) end) - before
        # A guest that collects garbage may have more of its own.
        own = guest_memory(peer, name) - guest_before + handles
        assert {path, more, own, more <= @more + own} == {path, more, own, true}
      end

      {200, _headers, events} = curl_url(Peer.url(peer, "/call/#{name}/events?n=10000"), [])
      assert events |> String.split("\n\n", trim: true) == for(number <- 1..10_000, do: "data: #{number}")
      :ok = Peer.call(peer, Tidepool, :remove, [name])
    end
  end

  # The most memory that a process has while something is done.
  defp most(os_pid, work) do
    File.write!("/proc/#{os_pid}/clear_refs", "5")
    work.()
    [_line, kib] = Regex.run(~r/^VmHWM:\s+(\d+) kB$/m, File.read!("/proc/#{os_pid}/status"))
    String.to_integer(kib) * 1_024
  end

  # The largest that an instance of a function has had.
  defp guest_memory(peer, name) do
    {200, _headers, metrics} = curl_url(Peer.url(peer, "/metrics"), [])
    [_line, bytes] = Regex.run(~r/^tidepool_peak_memory_bytes\{.*function="#{name}".*\} (\d+)$/m, metrics)
    String.to_integer(bytes)
  end

  # Sends so many bytes of a sequence, and compares what the guest has made of them with what the client has.
  @script ~S"""
  set -o pipefail
  bytes() { openssl enc -aes-128-ctr -nosalt -K 00 -iv 00 -in /dev/zero 2>/dev/null | head -c "$size"; }
  here=$(bytes | sha256sum | cut -d ' ' -f 1)
  answer=$(bytes | curl -sS --fail -X POST -H 'expect:' -T - "$url" | case $url in */echo) sha256sum ;; *) cat ;; esac | cut -d ' ' -f 1)
  [[ $here == "$answer" ]] && echo equal || echo "$here here, $answer there"
  """

  defp exchange!(peer, name, path, size) do
    env = [{"url", Peer.url(peer, "/call/#{name}#{path}")}, {"size", "#{size}"}]
    assert System.cmd("bash", ["-c", @script], env: env) == {"equal\n", 0}
  end
end
