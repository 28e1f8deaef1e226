# What `record.exs` has the first version write, and what today's has to read: evaluated by both.
alias Tidepool.Catalog.Entry
alias Tidepool.Cluster.Report

limits = Tidepool.Limits.complete(%{time: 4_321, depth: 7})

entry = %Entry{
  name: "f",
  version: 3,
  sha256: String.duplicate("5a", 32),
  size: 100_000,
  operation: "grüß",
  instances: :fresh,
  engine: :fast,
  snapshot: true,
  limits: limits,
  deployed_at: 1_700_000_000,
  stamp: {1_700_000_000_123, 5, "a@b#1"}
}

removed = %{entry | name: "g", removed: true}
other = %{entry | name: "h", instances: {:warm, 7}, engine: :dense, snapshot: false, deployed_at: -1}

report = %Report{
  node: "a@b",
  at: 1_700_000_000_456,
  links: ["c@d", "e@f"],
  root: 0xFF_FFFF_FFFF_FFFF,
  ready: [1, 2],
  pending: [3]
}

seen = %{
  seen: %{"a@b#1" => {1_700_000_000_123, 5}, "c@d#2" => {9, 0}},
  beyond: %{"c@d#2" => %{{11, 1} => true, {12, 0} => true}},
  horizon: {8, 1, "c@d#2"}
}

%{
  messages: [
    push: {:push, [{entry, nil}, {removed, {1_700_000_000_000, 1}}, {other, nil}]},
    reports: {:reports, [report, %{report | node: "c@d", links: [], ready: [], pending: []}]},
    digest: {:digest, 1_700_000_000_789, 1, 2, 0xFF_FFFF_FFFF_FFFF},
    groups_of_entries: {:groups, :entries, Enum.to_list(1..32)},
    groups_of_reports: {:groups, :reports, List.duplicate(0, 32)},
    leaves: {:leaves, :entries, [{31, Enum.to_list(1..32)}]},
    leaves_of_reports: {:leaves, :reports, [{0, List.duplicate(7, 32)}]},
    keys: {:keys, :entries, [{1_023, [{"f", entry.stamp}]}, {0, []}]},
    keys_of_reports: {:keys, :reports, [{5, [{"a@b", report.at}]}]},
    want: {:want, :entries, ["f", "g"]},
    want_reports: {:want, :reports, ["a@b"]},
    gone: {:gone, [{"f", entry.stamp}]},
    seen: {:seen, 12_345, seen},
    seen_nothing: {:seen, 0, %{seen: %{}, beyond: %{}, horizon: nil}},
    join: :join,
    forward_join: {:forward_join, "a@b", 16},
    neighbor: {:neighbor, :high},
    neighbor_low: {:neighbor, :low},
    neighbor_reply: {:neighbor_reply, true},
    neighbor_reply_no: {:neighbor_reply, false},
    disconnect: :disconnect,
    shuffle: {:shuffle, ["a@b", "c@d"], 3, ["e@f"]},
    shuffle_reply: {:shuffle_reply, ["a@b"], ["c@d", "e@f"]}
  ],
  # By name and by stamp different ones.
  entries: [entry, removed, other, %{entry | stamp: {1, 0, "c@d#2"}}],
  reports: [report, %{report | at: 1}],
  # One name and stamp.
  ties: [
    entry,
    %{entry | removed: true},
    %{entry | version: 4},
    %{entry | sha256: String.duplicate("5b", 32)},
    %{entry | size: 1},
    %{entry | operation: "a"},
    %{entry | instances: {:warm, 7}},
    %{entry | engine: :dense},
    %{entry | snapshot: false},
    %{entry | limits: %{limits | time: 1}},
    %{entry | limits: %{limits | depth: 8}, deployed_at: 1},
    %{entry | deployed_at: 2_000_000_000}
  ],
  # What a catalog's log has, in its order.
  records: [
    %{replica: "a@b#1", seen: seen.seen, beyond: seen.beyond, horizon: seen.horizon},
    entry,
    %{entry | version: 4, sha256: String.duplicate("5b", 32), stamp: {1_700_000_000_124, 0, "a@b#1"}},
    removed,
    other
  ]
}
