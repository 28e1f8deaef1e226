Code.require_file("built.exs", __DIR__)

defmodule Tidepool.Ship.KubernetesTest do
  # ops/kubernetes/tidepool.yaml, and restore.yaml beside it, say nothing that Kubernetes does not know, or that a node does not have.
  use Tidepool.Case, async: false

  alias Tidepool.{Built, Config}

  @moduletag :ship

  @file_name "ops/kubernetes/tidepool.yaml"
  @restore "ops/kubernetes/restore.yaml"
  # The oldest and the newest of those that are in use.
  @versions ["1.30", "1.37"]

  setup_all do
    documents = Built.yaml!(@file_name)
    of_kind = fn kind -> for document <- documents, document["kind"] == kind, do: document end
    [set] = of_kind.("StatefulSet")
    pod = set["spec"]["template"]["spec"]
    [container] = pod["containers"]
    env = for variable <- container["env"], do: {variable["name"], variable}
    %{of_kind: of_kind, set: set["spec"], name: set["metadata"]["name"], pod: pod, container: container, env: env}
  end

  defp value(context, name) do
    {_name, variable} = List.keyfind(context.env, name, 0)
    variable["value"]
  end

  # Those of a pod with this name, in a namespace of the test's.
  defp resolved(context, pod) do
    known = %{"metadata.name" => pod, "metadata.namespace" => "shop", "status.podIP" => "10.1.2.3"}

    Enum.reduce(context.env, %{}, fn {name, variable}, before ->
      text =
        case variable do
          %{"value" => text} ->
            Regex.replace(~r/\$\((\w+)\)/, text, fn _all, earlier -> Map.fetch!(before, earlier) end)

          %{"valueFrom" => %{"fieldRef" => %{"fieldPath" => path}}} ->
            Map.fetch!(known, path)

          %{"valueFrom" => %{"secretKeyRef" => %{"key" => key}}} ->
            key
        end

      Map.put(before, name, text)
    end)
  end

  test "the manifests are what the schemas of Kubernetes allow, with no field that they don't know" do
    for version <- @versions do
      command = ["--strict", "--quiet", "-k", version]
      Built.run!(Built.validator("kubernetes-validate"), command ++ [@file_name])
      Built.run!(Built.validator("kubernetes-validate"), command ++ [@restore])

      # The check finds what is wrong.
      wrong = Path.join(tmp_folder!(), "wrong.yaml")

      File.write!(
        wrong,
        String.replace(File.read!(@file_name), "terminationGracePeriodSeconds:", "terminationGracePeriod:")
      )

      assert {output, 1} =
               System.cmd(Built.validator("kubernetes-validate"), command ++ [wrong], stderr_to_stdout: true)

      assert output =~ "terminationGracePeriod"
    end
  end

  test "each variable is one that a node or a release reads, and pods of the set have names that are seeds of all",
       context do
    documented = File.read!("docs/configuration.md")
    own = for {name, _variable} <- context.env, not String.starts_with?(name, "POD_"), do: name
    # Erlang's own.
    for name <- own -- ["ERL_ZFLAGS"], do: assert(documented =~ "| `#{name}` |", "#{name} is no variable of a release")

    [headless] = for service <- context.of_kind.("Service"), service["spec"]["clusterIP"] == "None", do: service
    assert headless["spec"]["publishNotReadyAddresses"] == true
    assert context.set["serviceName"] == headless["metadata"]["name"]
    pods = for number <- 0..(context.set["replicas"] - 1), do: "#{context.name}-#{number}"
    nodes = for pod <- pods, do: resolved(context, pod)["RELEASE_NODE"]

    for {pod, node} <- Enum.zip(pods, nodes) do
      assert node == "tidepool@#{pod}.#{context.set["serviceName"]}.shop.svc.cluster.local"
      assert String.split(resolved(context, pod)["TIDEPOOL_SEEDS"], ",") == nodes
      assert resolved(context, pod)["TIDEPOOL_ACTORS"] == "replicated:" <> Enum.join(nodes, ",")
      assert resolved(context, pod)["TIDEPOOL_CLUSTER_ADDRESS"] == "10.1.2.3"
    end

    %{"TIDEPOOL_SEEDS" => seeds, "TIDEPOOL_LAME_DUCK" => lame_duck, "TIDEPOOL_DRAIN" => drain} =
      resolved(context, hd(pods))

    actors = resolved(context, hd(pods))["TIDEPOOL_ACTORS"]
    settings = [seeds: seeds, lame_duck: String.to_integer(lame_duck), drain: String.to_integer(drain)]
    settings = settings ++ [actors: actors, data: "/var/lib/tidepool"]
    assert {:ok, _config} = Config.Schema.check(settings)
  end

  test "the pod by which actors are restored is no node's, and has the first node's volume, name, user and folders",
       context do
    [pod] = Built.yaml!(@restore)
    [container] = pod["spec"]["containers"]
    env = for variable <- container["env"], do: {variable["name"], variable}
    # By the labels of nodes it would be called.
    assert pod["metadata"]["labels"] == nil
    first = resolved(context, "#{context.name}-0")
    own = resolved(%{context | env: env}, pod["metadata"]["name"])
    assert own["RELEASE_NODE"] == first["RELEASE_NODE"]
    assert own["RELEASE_COOKIE"] == first["RELEASE_COOKIE"]
    # A group begins with that node.
    assert own["TIDEPOOL_ACTORS"] == "replicated:" <> first["RELEASE_NODE"]
    [%{"metadata" => %{"name" => claim}}] = context.set["volumeClaimTemplates"]
    claims = for %{"persistentVolumeClaim" => %{"claimName" => name}} <- pod["spec"]["volumes"], do: name
    assert claims == ["#{claim}-#{context.name}-0"]
    assert pod["spec"]["securityContext"] == context.pod["securityContext"]
    for key <- ["image", "securityContext", "volumeMounts"], do: assert(container[key] == context.container[key])
  end

  test "secrets are those that the file says how to make, with what may lack marked", context do
    [_all, made] = Regex.run(~r/^#   kubectl create secret generic tidepool (.*)$/m, File.read!(@file_name))
    keys = for [key] <- Regex.scan(~r/--from-literal=(\w+)=/, made, capture: :all_but_first), do: key

    for {_name, %{"valueFrom" => %{"secretKeyRef" => secret}}} <- context.env do
      assert secret["name"] == "tidepool"
      assert secret["key"] in keys or secret["optional"] == true
    end
  end

  test "ports and paths are those that a node has, and services, probes and the policy name them", context do
    ports = for port <- context.container["ports"], into: %{}, do: {port["name"], port["containerPort"]}

    [_all, first, last] =
      Regex.run(~r/inet_dist_listen_min (\d+) inet_dist_listen_max (\d+)/, value(context, "ERL_ZFLAGS"))

    default = Config.Schema.settings()[:port][:default]
    assert ports == %{"http" => default, "epmd" => 4369, "nodes" => String.to_integer(first)}
    assert first == last

    for service <- context.of_kind.("Service"), port <- service["spec"]["ports"] do
      assert port["port"] == ports[port["targetPort"]]
    end

    [policy] = context.of_kind.("NetworkPolicy")
    open = for rule <- policy["spec"]["ingress"], rule["from"] == nil, port <- rule["ports"], do: port["port"]
    closed = for rule <- policy["spec"]["ingress"], rule["from"] != nil, port <- rule["ports"], do: port["port"]
    assert open == ["http"]
    assert Enum.sort(open ++ closed) == Enum.sort(Map.keys(ports))

    assert %{"path" => path, "port" => "http"} = context.container["readinessProbe"]["httpGet"]
    assert {200, _headers, %{"status" => "ok"}} = curl(path)

    # The next pod of a rolling update is stopped when this one is ready: then it has what the others have of actors.
    assert context.set["updateStrategy"] in [nil, %{"type" => "RollingUpdate"}]

    # A node that drains answers 503 there, one whose disk is full, and one that catches up: it is not to be killed for that.
    for probe <- ["startupProbe", "livenessProbe"] do
      assert context.container[probe]["tcpSocket"]["port"] == "http"
      assert context.container[probe]["httpGet"] == nil
    end
  end

  test "a pod that ends has the time that its node takes, and clients see it before that", context do
    %{"preStop" => %{"exec" => %{"command" => ["sleep", seconds]}}} = context.container["lifecycle"]
    drain = String.to_integer(value(context, "TIDEPOOL_DRAIN"))
    lame_duck = String.to_integer(value(context, "TIDEPOOL_LAME_DUCK"))
    handover = Tidepool.Actor.Ownership.LeaseHolder.child_spec(nil).shutdown
    assert context.pod["terminationGracePeriodSeconds"] * 1_000 >= String.to_integer(seconds) * 1_000 + drain + handover
    readiness = context.container["readinessProbe"]
    assert lame_duck >= 2 * readiness["periodSeconds"] * readiness["failureThreshold"] * 1_000
    assert lame_duck < drain

    [budget] = context.of_kind.("PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    labels = context.set["template"]["metadata"]["labels"]
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert context.set["selector"]["matchLabels"] == labels
    for service <- context.of_kind.("Service"), do: assert(service["spec"]["selector"] == labels)
  end

  test "a pod has the image of this version, its user, and the folders that it writes to, and no other", context do
    image = File.read!("ops/Dockerfile")
    assert context.container["image"] == "tidepool:#{Mix.Project.config()[:version]}"
    security = context.pod["securityContext"]
    assert image =~ "\nUSER #{security["runAsUser"]}:#{security["runAsGroup"]}\n"
    assert security["fsGroup"] == security["runAsGroup"]
    assert context.container["securityContext"]["readOnlyRootFilesystem"]
    mounted = for mount <- context.container["volumeMounts"], do: mount["mountPath"]
    written = for name <- ["TIDEPOOL_DATA", "RELEASE_TMP"], [_all, path] = Regex.run(~r/#{name}=(\S+)/, image), do: path
    assert Enum.sort(mounted) == Enum.sort(written)
  end
end
