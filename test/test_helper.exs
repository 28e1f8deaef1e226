unless File.exists?("guests/build/rust/hello_world.wasm") do
  Mix.raise("the guests are not built: run bin/guests")
end

ExUnit.start(capture_log: true)
ExUnit.after_suite(fn _result -> File.rm_rf!(Application.fetch_env!(:tidepool, :data)) end)
