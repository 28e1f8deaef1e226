defmodule Tidepool.Oci.Manifest do
  @moduledoc """
  What a manifest says of the module that it is of: that it is one, and which layer has it.

  Modules are pushed with layers of several media types: `application/wasm` is that of the artifact layout that the CNCF's working
  group has written down, which `wkg` and `oras` follow; the others are those of tools before it, Spin and `wasm-to-oci` among them. What
  other layers there are is nothing to a node.
  """

  alias Tidepool.Native

  @modules [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm"
  ]
  @manifests ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"]
  @indexes ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"]

  @typedoc "A layer that has a module: its SHA-256 in hex, and its size in bytes."
  @type layer :: %{sha256: String.t(), size: non_neg_integer}

  @doc "The media types that a registry is asked for. Indexes are asked for so that it can be said that there is one."
  @spec accept :: String.t()
  def accept, do: Enum.join(@manifests ++ @indexes, ", ")

  @doc "The layer with the module; else what there is instead, as the end of a sentence, or that it is no manifest."
  @spec layer(binary) :: {:ok, layer} | {:error, {:no_module, String.t()} | :no_manifest}
  def layer(bytes) do
    # It may be of very many names, which whoever pushes manifests says.
    case Native.json_decode_large(bytes) do
      {:ok, %{"manifests" => _several}} -> index()
      {:ok, %{"mediaType" => type}} when type in @indexes -> index()
      {:ok, %{"schemaVersion" => 2, "layers" => layers}} when is_list(layers) -> among(layers)
      _other -> {:error, :no_manifest}
    end
  end

  defp index do
    {:error, {:no_module, "is an index of several images: name the one with the module, by its tag or its digest"}}
  end

  defp among(layers) do
    case Enum.filter(layers, &match?(%{"mediaType" => type} when type in @modules, &1)) do
      [%{"digest" => "sha256:" <> sha256, "size" => size}] ->
        if is_integer(size) and size >= 0 and sha256 =~ ~r/\A[0-9a-f]{64}\z/,
          do: {:ok, %{sha256: sha256, size: size}},
          else: {:error, :no_manifest}

      [%{"digest" => "" <> _other, "size" => _size}] ->
        {:error, {:no_module, "has a layer whose digest is none of SHA-256"}}

      [_lacks_one] ->
        {:error, :no_manifest}

      [] ->
        {:error, {:no_module, "has no layer that is a WebAssembly module: push one with `tidepool push`, wkg or oras"}}

      several ->
        {:error, {:no_module, "has #{length(several)} layers that are WebAssembly modules, and a function is one"}}
    end
  end
end
