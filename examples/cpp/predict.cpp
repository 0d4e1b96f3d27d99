// Segments an image with an OpenVINO file of `segnet export --format openvino`.
//
//     pip install openvino      (includes headers, libraries and CMake files)
//     cmake -S . -B build && cmake --build build
//     build/predict segnet_light.xml photo.ppm mask.pgm

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <limits>
#include <numeric>
#include <openvino/openvino.hpp>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

struct Image {
    std::size_t height = 0, width = 0;
    std::vector<std::uint8_t> pixels;  // (height, width, 3), RGB
};

// A number of a PPM header; comment lines that begin with # may come before it.
std::size_t read_number(std::istream& file) {
    while ((file >> std::ws).peek() == '#') file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    std::size_t number = 0;
    file >> number;
    return number;
}

Image read_ppm(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + ": cannot be opened");
    std::string kind(2, ' ');
    file.read(kind.data(), 2);
    Image image;
    image.width = read_number(file);
    image.height = read_number(file);
    const bool bytes = read_number(file) == 255 && kind == "P6";
    const auto possible = [](std::size_t side) { return 0 < side && side < 65536; };
    if (!bytes || !possible(image.width) || !possible(image.height))
        throw std::runtime_error(path + ": is not a binary PPM of 8 bits (P6 ... 255)");
    file.get();  // the one blank that ends the header
    image.pixels.resize(image.height * image.width * 3);
    if (!file.read(reinterpret_cast<char*>(image.pixels.data()), image.pixels.size()))
        throw std::runtime_error(path + ": is cut off");
    return image;
}

// The metadata has all information as JSON under `segnet`, and the class names under `names`: ["Sky", "Road"].
// Reading the quoted strings needs no JSON library; JSON's escapes (\" and \\) are kept.
std::vector<std::string> class_names(const ov::Model& model) {
    if (!model.has_rt_info("names")) throw std::runtime_error("the model has no class names in its metadata");
    const auto list = model.get_rt_info<std::string>("names");
    const std::regex quoted(R"re("((?:[^"\\]|\\.)*)")re");
    std::vector<std::string> names;
    for (std::sregex_iterator match(list.begin(), list.end(), quoted), end; match != end; ++match)
        names.push_back((*match)[1]);
    return names;
}

// The model input is float32 (N, 3, H, W) in [0, 1]; the compiled model takes bytes (N, H, W, 3), as in images.
ov::CompiledModel compile(const std::shared_ptr<ov::Model>& model) {
    ov::preprocess::PrePostProcessor steps(model);
    steps.input().tensor().set_element_type(ov::element::u8).set_layout("NHWC");
    steps.input().preprocess().convert_element_type(ov::element::f32).scale(255.0F);
    steps.input().model().set_layout("NCHW");
    return ov::Core().compile_model(steps.build(), "CPU",
                                    ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
                                    ov::hint::inference_precision(ov::element::f32));
}

// Class index of each pixel, row by row.
std::vector<std::uint8_t> predict(ov::CompiledModel& compiled, Image& image) {
    auto request = compiled.create_infer_request();
    request.set_input_tensor(
        ov::Tensor(ov::element::u8, {1, image.height, image.width, 3}, image.pixels.data()));
    request.infer();
    const ov::Tensor logits = request.get_tensor("logits");  // (1, classes, H, W)
    const auto* value = logits.data<const float>();
    const std::size_t area = image.height * image.width;
    std::vector<float> best(value, value + area);
    std::vector<std::uint8_t> mask(area, 0);
    for (std::size_t index = 1; index < logits.get_shape()[1]; ++index)
        for (std::size_t pixel = 0; pixel < area; ++pixel)
            if (const float here = value[index * area + pixel]; here > best[pixel]) {
                best[pixel] = here;
                mask[pixel] = static_cast<std::uint8_t>(index);
            }
    return mask;
}

// A gray image whose values are class indices.
void write_pgm(const std::string& path, const std::vector<std::uint8_t>& mask, const Image& image) {
    std::ofstream file(path, std::ios::binary);
    file << "P5\n" << image.width << ' ' << image.height << "\n255\n";
    file.write(reinterpret_cast<const char*>(mask.data()), mask.size());
    if (!file.flush()) throw std::runtime_error(path + ": cannot be written");
}

void print_shares(const std::vector<std::uint8_t>& mask, const std::vector<std::string>& names) {
    std::vector<std::size_t> counts(256), order(names.size());
    for (const auto index : mask) ++counts[index];
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return counts[a] > counts[b]; });
    for (const auto index : order)
        std::printf("%5.1f%%  %s\n", 100.0 * counts[index] / mask.size(), names[index].c_str());
}

int main(int count, char** words) try {
    if (count != 4) throw std::runtime_error("usage: predict MODEL.xml IMAGE.ppm MASK.pgm");
    const auto model = ov::Core().read_model(words[1]);
    const auto names = class_names(*model);
    auto image = read_ppm(words[2]);
    auto compiled = compile(model);
    const auto mask = predict(compiled, image);
    write_pgm(words[3], mask, image);
    print_shares(mask, names);
} catch (const std::exception& error) {
    std::string message = error.what();  // OpenVINO puts the place in its sources first, and the reason last
    message.erase(message.find_last_not_of(" \n") + 1);
    std::fprintf(stderr, "predict: %s\n", message.substr(message.rfind('\n') + 1).c_str());
    return 1;
}
