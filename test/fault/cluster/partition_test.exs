defmodule Tidepool.Fault.Cluster.PartitionTest do
  # Not async: five nodes at once.
  use Tidepool.Case

  import Tidepool.TestCluster

  test "halves that were written to while they were parted agree when they meet again, and nothing is lost" do
    [a, b, c, d, e] = peers = start!(5)
    for name <- ["both", "left_only", "gone", "kept"], do: {:ok, _function} = deploy(a, name, 1)
    assert_converged(peers, Map.new(["both", "left_only", "gone", "kept"], &{&1, [1]}))

    {left, right} = {[a, b], [c, d, e]}
    part(left, right)

    # Each half goes on working, and knows nothing of the other.
    {:ok, _function} = deploy(a, "both", 2)
    {:ok, _function} = deploy(b, "left_only", 3)
    {:ok, _function} = deploy(a, "new_left", 4)
    :ok = remove(c, "gone")
    {:ok, _function} = deploy(d, "new_right", 5)
    {:ok, _function} = deploy(e, "both", 6)
    {:ok, _function} = deploy(b, "removed_and_back", 7)
    :ok = remove(b, "removed_and_back")
    {:ok, _function} = deploy(e, "removed_and_back", 8)
    assert_converged(left, %{"both" => [2], "left_only" => [3], "new_left" => [4], "gone" => [1]})
    assert_converged(right, %{"both" => [6], "left_only" => [1], "new_right" => [5], "gone" => [:removed]})
    for peer <- right, do: assert(version(peer, "new_left") == :removed)

    heal(left, right)

    assert_converged(peers, %{
      "both" => [6],
      "left_only" => [3],
      "new_left" => [4],
      "new_right" => [5],
      "gone" => [:removed],
      "removed_and_back" => [8],
      "kept" => [1]
    })
  end

  test "what was removed in one half stays removed, although the other half still calls it" do
    [a, b, c] = peers = start!(3)
    {:ok, _function} = deploy(a, "f", 1)
    assert_converged(peers, %{"f" => [1]})
    part([a], [b, c])
    :ok = remove(a, "f")
    assert version(b, "f") == 1
    heal([a], [b, c])
    assert_converged(peers, %{"f" => [:removed]})
  end
end
